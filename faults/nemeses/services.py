"""PostgreSQL and Redis: their connections killed, restarted, and Redis with its data lost."""

from __future__ import annotations

import psycopg
import redis as redis_client

from faults.nemeses.nemesis import Nemesis
from faults.world import World
from tests.services.postgres import Postgres
from tests.services.redis import Redis


class RedisFault(Nemesis):
    """A fault of Redis."""

    seconds = (0.0, 3.0)

    @classmethod
    def is_possible(cls, world: World) -> bool:
        """A Redis that fails over has a fault of its own."""
        return world.redis is not None and world.sentinels is None

    @property
    def redis(self) -> Redis:
        """The one of the run."""
        assert self.world.redis is not None
        return self.world.redis

    @property
    def target(self) -> str:
        """One fault at a time."""
        return "redis"

    def call(self, *words: str) -> object:
        """One command."""
        with redis_client.from_url(self.redis.url) as client:
            return client.execute_command(*words)

    def heal(self) -> None:
        """Start it where it was killed."""
        if self.redis.process.exit_code is not None:
            self.redis.start()


class KillPubSub(RedisFault):
    """Connections that listen are closed."""

    name = "kill pub/sub"

    def begin(self) -> str:
        """As a Redis does with one that is too slow."""
        return f"{self.call('CLIENT', 'KILL', 'TYPE', 'pubsub')!r} connections"


class KillCalls(RedisFault):
    """Connections that ask are closed."""

    name = "kill Redis calls"

    def begin(self) -> str:
        """All but our own."""
        return f"{self.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')!r} connections"


class RestartRedisEmpty(RedisFault):
    """A restart that has lost everything."""

    name = "restart Redis without data"

    def begin(self) -> str:
        """Also what was saved before."""
        self.call("FLUSHALL")
        self.call("SAVE")
        self.redis.kill()
        return "killed"


class RestartRedis(RedisFault):
    """A restart from a snapshot: the last messages are gone."""

    name = "restart Redis with data"

    def begin(self) -> str:
        """What comes behind the snapshot is lost."""
        self.call("SAVE")
        self.redis.kill()
        return "killed"


class FailOver(RedisFault):
    """The master is killed; its replica takes over."""

    name = "fail over Redis"
    seconds = (4.0, 8.0)

    @classmethod
    def is_possible(cls, world: World) -> bool:
        """Only with sentinels."""
        return world.sentinels is not None

    def begin(self) -> str:
        """The one that the sentinels name."""
        sentinels = self.world.sentinels
        assert sentinels is not None
        port = sentinels.named_master()
        self._killed = sentinels.master if sentinels.master.port == port else sentinels.replica
        self._killed.kill()
        return f"port {port}"

    def heal(self) -> None:
        """It comes back, and the sentinels make it a replica of the other."""
        self._killed.start()


class PostgresFault(Nemesis):
    """A fault of PostgreSQL."""

    seconds = (0.0, 3.0)

    @property
    def target(self) -> str:
        """One fault at a time."""
        return "postgres"

    @classmethod
    def is_possible(cls, world: World) -> bool:
        """Only with PostgreSQL."""
        return world.postgres is not None

    @property
    def postgres(self) -> Postgres:
        """The one of the run."""
        assert self.world.postgres is not None
        return self.world.postgres

    def heal(self) -> None:
        """Start it where it was ended."""
        if self.postgres.process.exit_code is not None:
            self.postgres.serve()


class KillBackends(PostgresFault):
    """Every connection is ended by the server."""

    name = "kill PostgreSQL backends"

    def begin(self) -> str:
        """All but our own."""
        statement = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        with psycopg.connect(self.postgres.url(), autocommit=True) as connection:
            row = connection.execute(statement).fetchone()
        return f"{row[0] if row else 0} backends"


class RestartPostgres(PostgresFault):
    """A restart as an operator's."""

    name = "restart PostgreSQL"

    def begin(self) -> str:
        """Connections are cut, what runs is rolled back."""
        self.postgres.stop()
        return "stopped"


class CrashPostgres(PostgresFault):
    """A restart with immediate shutdown: the next start has to recover."""

    name = "crash PostgreSQL"

    def begin(self) -> str:
        """What was committed survives."""
        self.postgres.kill()
        return "crashed"
