"""Rows of the core, a module for each subject."""

from routing_app.core.models.api_keys import ApiKey, Scope
from routing_app.core.models.audit import AuditEntry
from routing_app.core.models.connections import ConnectionRecord, Subscription
from routing_app.core.models.hooks import Hook
from routing_app.core.models.issuers import Issuer, IssuerKey
from routing_app.core.models.occupied import AddressHolder, OccupiedAddress
from routing_app.core.models.outbox_messages import OutboxMessage
from routing_app.core.models.rate_limits import RateLimit
from routing_app.core.models.revocations import Revocation
from routing_app.core.models.rules import AddressRule
from routing_app.core.models.scheduled_messages import ScheduledMessage
from routing_app.core.models.webhooks import Delivery, DeliveryStatus, Webhook
from routing_app.core.models.workers import LEASE_SECONDS, Reach, WorkerRecord, lease_start

__all__ = [
    "LEASE_SECONDS",
    "AddressHolder",
    "AddressRule",
    "ApiKey",
    "AuditEntry",
    "ConnectionRecord",
    "Delivery",
    "DeliveryStatus",
    "Hook",
    "Issuer",
    "IssuerKey",
    "OccupiedAddress",
    "OutboxMessage",
    "RateLimit",
    "Reach",
    "Revocation",
    "ScheduledMessage",
    "Scope",
    "Subscription",
    "Webhook",
    "WorkerRecord",
    "lease_start",
]
