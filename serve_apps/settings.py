"""Settings, from the environment (`DOORBUSTER_…`). A setting says what it is for and its unit."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

if TYPE_CHECKING:
    from storage.key_file import KeyFile
    from storage.key_ring import (
        KeyRing,  # brings `cryptography`, which the supervisor starts without
    )

_DATA_KEYS = "DOORBUSTER_DATA_KEYS"
Positive = Annotated[int, Field(gt=0)]
Secret = Annotated[str, Field(repr=False)]  # shown nowhere, also not in a printed Settings


def _is_a_file(path: str) -> str:
    if path and not Path(path).is_file():
        raise ValueError("there is no such file")
    return path


ExistingFile = Annotated[str, AfterValidator(_is_a_file)]


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
    data_keys: Annotated[str, Field(repr=False)] = ""
    """Keys that personal data is sealed with, `id:base64,id:base64`, the first one seals; empty:
    made once and kept in `home/data-keys`."""

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
    action_wait_s: Annotated[float, Field(ge=1, le=3_600)] = 900.0
    """How long, in seconds, an order waits for its buyer to approve the payment elsewhere."""
    transfer_wait_s: Annotated[float, Field(ge=1, le=10 * 86_400)] = 7 * 86_400.0
    """How long, in seconds, an order waits for a bank transfer; its stock waits with it."""
    review_wait_s: Annotated[float, Field(ge=1, le=3 * 86_400)] = 86_400.0
    """How long, in seconds, an operator may take to decide about a risky order."""
    pause_dir: str = ""
    """For tests: a folder in which pauses between the steps of a checkout are asked for."""
    batch_spacing_ms: Annotated[float, Field(ge=0, le=1_000)] = 4.0
    """Least time between two batches of one checkout step, in milliseconds. The first of a quiet
    moment leaves at once; under load batches grow instead of their number."""
    provider_latency_ms: Annotated[float, Field(ge=0, le=60_000)] = 0.0
    """How long the simulated payment provider takes for each call."""
    tax_service_url: str = ""
    """A service that tells tax rates; empty: the shop's own table."""
    tax_service_token: Secret = ""
    tax_timeout_ms: Annotated[float, Field(gt=0, le=5_000)] = 500.0
    """How long the tax service may take, in milliseconds."""
    tax_on_failure: Literal["table", "refuse"] = "table"
    """What happens when it does not answer: the shop's table is used, or nothing is sold."""
    provider_fault_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the simulated payment provider's calls that go wrong, in all ways alike."""
    fraud_policy: ExistingFile = ""
    """Weights and thresholds of the fraud checks, TOML or JSON; empty: the shipped ones."""
    fraud_model: ExistingFile = ""
    """A model made by `doorbuster fraud train`; empty: the shipped one."""

    stripe_api_key: Secret = ""
    """Stripe's secret key (`sk_…` or a restricted `rk_…`); empty: the simulated provider."""
    stripe_webhook_secret: Secret = ""
    """Signing secret of the webhook endpoint (`whsec_…`); empty: Stripe's webhooks are refused."""
    stripe_base_url: str = ""
    """Where Stripe's API is, for tests; empty: at Stripe."""
    stripe_timeout_s: Annotated[float, Field(gt=0, le=80)] = 15.0
    """How long one request to Stripe may take, in seconds; a call makes up to three."""
    stripe_transfer_country: Annotated[str, Field(pattern="^(BE|DE|ES|FR|IE|NL)$")] = "DE"
    """Where bank transfers in EUR go to: a country that Stripe has accounts in."""
    second_provider_url: str = ""
    """Address of the provider that new charges go to while Stripe is down; empty: none."""
    second_provider_public_key: Secret = ""
    second_provider_private_key: Secret = ""
    second_provider_timeout_s: Annotated[float, Field(gt=0, le=80)] = 15.0
    """How long one request to the second provider may take, in seconds; a call makes up to two."""

    def as_environment(self) -> dict[str, str]:
        """The environment from which another process reads the same settings."""
        values = self.model_dump(mode="json")
        return {f"DOORBUSTER_{name.upper()}": str(value) for name, value in values.items()}

    def embedded_database(self) -> bool:
        """True if the shop brings its own Postgres."""
        return not self.database_url

    def data_key_ring(self) -> KeyRing:
        """The keys that personal data is sealed with; made and kept in `home` if none are set.

        Raises KeyRingError if they cannot be read.
        """
        from storage.key_file import ring_of_file
        from storage.key_ring import KeyRing, MissingKeyError, parse_keys

        if self.data_keys:
            keys = parse_keys(self.data_keys, source=_DATA_KEYS)
            return KeyRing(keys, random=os.urandom, monotonic=time.monotonic)
        if self.ray_address != "local":
            # Each node would make keys of its own and could not read what another sealed.
            raise MissingKeyError(f"set {_DATA_KEYS} to the same keys on every node of the cluster")
        return ring_of_file(self.data_key_file())

    def data_key_file(self) -> KeyFile:
        """Where the keys are kept if none are set."""
        from storage.key_file import KeyFile

        return KeyFile(self.home / "data-keys", random=os.urandom)

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
