"""S3 and what speaks its protocol: an object a batch, NDJSON or Parquet, signed with SigV4.

The name of an object follows from its content, so a batch that is sent again takes the place of
itself. Objects are filed by the day and hour of their first record.
"""

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC
from typing import Annotated, Any, Literal
from urllib.parse import quote

import msgspec
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError
from botocore.session import Session

from tachograph.pipeline.errors import RetryLater
from tachograph.pipeline.forward import destination
from tachograph.pipeline.forward.destination import Outgoing, Secret
from tachograph.pipeline.forward.destinations._http import Client, taken, url_problems
from tachograph.pipeline.forward.formats import formats

TYPE = "s3"
FORMATS = ("ndjson", "ocsf")

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


class Options(destination.Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of `type = "s3"`; the secret is the secret key of `access_key_id`."""

    bucket: str
    region: str = "us-east-1"
    prefix: str = "tacho/alerts"
    # Where it is not AWS: MinIO, Ceph … The bucket is then part of the path.
    endpoint: str | None = None
    # Without it: the credentials of the environment, profile or role, as AWS tools find them.
    access_key_id: str | None = None
    object: Literal["ndjson", "parquet"] = "ndjson"
    deadline_s: Annotated[float, msgspec.Meta(gt=0, le=25)] = 20.0
    ca_file: str | None = None
    allow_plain_http: bool = False

    def problems(self, secret: Secret | None) -> list[str]:
        """What is wrong with bucket, region, endpoint or keys."""
        found = []
        if not _BUCKET.fullmatch(self.bucket):
            found.append(f"bucket: {self.bucket!r} is no name of a bucket")
        if not re.fullmatch(r"[a-z0-9-]{2,30}", self.region):
            found.append(f"region: {self.region!r} is no region")
        if self.endpoint is not None:
            found += url_problems("endpoint", self.endpoint, plain=self.allow_plain_http)
        if (self.access_key_id is None) != (secret is None):
            found.append("access_key_id goes with secret_env or secret_file")
        return found


def open(options: Options, secret: Secret | None) -> "S3":  # noqa: A001 - name of the seam
    """A sender from checked options. Raises ConfigError when the CA file cannot be used."""
    return S3(options, secret)


def render_options(options: Options) -> dict[str, Any]:
    """Nothing: the record is complete."""
    del options
    return {}


class S3:
    """PUTs objects over a kept connection."""

    batch_records = 1_000
    batch_bytes = 8_000_000

    def __init__(self, options: Options, secret: Secret | None) -> None:
        self._options = options
        self._keys = _keys(options, secret)
        self._client = Client(options.deadline_s, options.ca_file)

    def deliver(self, records: Sequence[Outgoing]) -> str:
        """One object; see `Destination.deliver`."""
        body, content_type = _object(records, self._options.object)
        name = self._name(records[0], body)
        headers = self._signed(name, body, {"content-type": content_type})
        answer = self._client.post(self._url(name), body, headers, method="PUT")
        # S3 takes any object: its 400 speaks of a token that has ended, of a region, of slowness.
        taken(answer, refused=())
        return f"{len(records)} records in s3://{self._options.bucket}/{name}"

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _name(self, first: Outgoing, body: bytes) -> str:
        at = first.at.astimezone(UTC)
        digest = hashlib.sha256(body).hexdigest()[:24]
        folder = f"dt={at:%Y-%m-%d}/hour={at:%H}"
        name = f"{folder}/{at:%Y%m%dT%H%M%S}-{digest}.{self._options.object}"
        return f"{self._options.prefix.strip('/')}/{name}".lstrip("/")

    def _url(self, name: str) -> str:
        options, path = self._options, quote(name, safe="/=")
        if options.endpoint is not None:
            return f"{options.endpoint.rstrip('/')}/{options.bucket}/{path}"
        return f"https://{options.bucket}.s3.{options.region}.amazonaws.com/{path}"

    def _signed(self, name: str, body: bytes, headers: dict[str, str]) -> dict[str, str]:
        digest = hashlib.sha256(body).hexdigest()
        request = AWSRequest(
            "PUT", self._url(name), headers={**headers, "x-amz-content-sha256": digest}, data=body
        )
        try:
            keys = self._keys.get_frozen_credentials()
            S3SigV4Auth(keys, "s3", self._options.region).add_auth(request)
        except BotoCoreError as error:
            raise RetryLater(f"no credentials: {type(error).__name__}") from error
        return dict(request.headers.items())


def _keys(options: Options, secret: Secret | None) -> Any:
    if options.access_key_id is not None and secret is not None:
        return Credentials(options.access_key_id, secret.reveal())
    try:
        found = Session().get_credentials()
    except BotoCoreError as error:
        raise RetryLater(f"no credentials: {type(error).__name__}") from error
    if found is None:
        raise RetryLater("no credentials of AWS were found; set access_key_id and a secret")
    return found


def _object(records: Sequence[Outgoing], kind: str) -> tuple[bytes, str]:
    if kind == "parquet":
        from tachograph.pipeline.forward.destinations._parquet import table

        return table([record.body for record in records]), "application/vnd.apache.parquet"
    pack = formats()["ndjson"].pack([(record.key, record.body) for record in records])
    return pack, "application/x-ndjson"
