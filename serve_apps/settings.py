"""Settings, from the environment (`DOORBUSTER_…`). A setting says what it is for and its unit."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

Positive = Annotated[int, Field(gt=0)]


class Settings(BaseSettings):
    """How a shop runs. Every process of it reads the same environment."""

    model_config = SettingsConfigDict(env_prefix="DOORBUSTER_", extra="ignore", frozen=True)

    home: Path = Path(".doorbuster")
    """Where the embedded servers keep their data, logs and run file."""
    port: Annotated[int, Field(ge=1, le=65_535)] = 8000
    """HTTP port of the shop."""
    host: str = "127.0.0.1"
    """Address that HAProxy and the replicas listen on; 0.0.0.0 when there are several nodes."""
    database_url: str = ""
    """Postgres; empty: an embedded one below `home`."""
    redis_url: str = ""
    """Redis; empty: an embedded one below `home`."""
    secret: str = ""
    """Signs tokens; empty: made once and kept in `home/secret`."""

    ray_address: str = "local"
    """The Ray cluster to deploy to; `local` starts one on this machine, `auto` finds one."""

    stock_owners: Annotated[int, Field(ge=1, le=1_000)] = 2
    """Owners in the pool; each is a process."""
    dedicated_owners_max: Annotated[int, Field(ge=0, le=1_000)] = 8
    """Hot pairs that may have an owner of their own; each is a process. 0: all stay in the pool."""
    promote_per_s: Annotated[float, Field(gt=0)] = 5_000.0
    """Requests per second from which on a pair gets an owner of its own."""
    demote_per_s: Annotated[float, Field(ge=0)] = 500.0
    """Requests per second below which a pair with an owner of its own is cool."""
    cool_for_s: Annotated[float, Field(ge=0)] = 60.0
    """How long, in seconds, a pair must be cool to go back to the pool."""
    reservation_ttl_s: Annotated[float, Field(ge=1, le=3_600)] = 600.0
    """How long a checkout may hold stock, in seconds."""
    checkout_replicas: Positive = 1
    cart_replicas: Positive = 1
    catalog_replicas: Positive = 1
    fraud_replicas: Positive = 1
    checkout_in_flight_max: Positive = 2_048
    """Checkouts one replica works on at once; beyond it shoppers are told to come back."""
    live_subscribers_max: Annotated[int, Field(ge=0, le=20_000)] = 1_000
    """Open pages and programs that may follow availability as it changes; 0: none."""
    stalled_after_s: Annotated[float, Field(gt=0)] = 15.0
    """Age in seconds at which recovery takes over a pending order."""
    orphaned_after_s: Annotated[float, Field(gt=0)] = 30.0
    """Age in seconds at which a reservation without a pending order is given back."""
    batch_spacing_ms: Annotated[float, Field(ge=0, le=1_000)] = 4.0
    """Least time between two batches of one checkout step, in milliseconds. The first of a quiet
    moment leaves at once; under load batches grow instead of their number."""
    provider_latency_ms: Annotated[float, Field(ge=0, le=60_000)] = 0.0
    """How long the simulated payment provider takes for each call."""
    provider_fault_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the simulated payment provider's calls that go wrong, in all ways alike."""

    def embedded_database(self) -> bool:
        """True if the shop brings its own Postgres."""
        return not self.database_url

    def stream_key(self) -> bytes:
        """The key that callers of the stock owners' streams show."""
        return hashlib.sha256(b"owner stream" + self.signing_key()).digest()

    def signing_key(self) -> bytes:
        """The key that tokens are signed with; made and kept in `home` if none is set."""
        if self.secret:
            return hashlib.sha256(self.secret.encode()).digest()
        path = self.home / "secret"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_suffix(f".{os.getpid()}")
            fresh.touch(mode=0o600)
            fresh.write_text(secrets.token_hex(32))
            try:
                os.link(fresh, path)  # the first of two that make one wins
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
        return hashlib.sha256(path.read_text().encode()).digest()
