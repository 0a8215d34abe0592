"""Topics of the console's socket, by name; one file each."""

from __future__ import annotations

from typing import Final

from routing_app.console.topics.addresses import AddressesTopic, AddressTopic
from routing_app.console.topics.connections import ConnectionsTopic, ConnectionTopic
from routing_app.console.topics.overview import OverviewTopic
from routing_app.console.topics.sessions import SessionsTopic
from routing_app.console.topics.settings import SettingsTopic
from routing_app.console.topics.topic import Followed, Topic, TopicError
from routing_app.console.topics.trace import TraceTopic
from routing_app.console.topics.workers import WorkersTopic

TOPICS: Final[dict[str, Topic]] = {
    topic.name: topic
    for topic in (
        OverviewTopic(),
        ConnectionsTopic(),
        ConnectionTopic(),
        AddressesTopic(),
        AddressTopic(),
        WorkersTopic(),
        SettingsTopic(),
        SessionsTopic(),
        TraceTopic(),
    )
}

__all__ = ["TOPICS", "Followed", "Topic", "TopicError"]
