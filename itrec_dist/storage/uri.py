"""Recognises URIs, and refuses or masks those that carry credentials.

A URI is written to configurations, logs and error messages, so it must not hold a credential:
credentials come from the environment or from the provider's own chain.
"""

import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit, urlunsplit

HARMLESS = frozenset({
    "region", "scheme", "endpoint_override", "allow_bucket_creation", "allow_bucket_deletion",
    "tls_ca_file_path", "retry_limit_seconds", "project_id", "enable_tls", "replication",
    "buffer_size",
})  # fmt: skip
"""Options that a URI may carry; any other one could be a secret."""

_URI = re.compile(r"[a-z][a-z0-9+.-]*://.+", re.DOTALL)
_SCHEMES_WITH_USER = (  # container@account, user@host
    "abfs", "abfss", "hdfs", "viewfs", "postgres", "postgresql", "mysql"
)  # fmt: skip
_SQUASHED = re.compile(r"([a-z][a-z0-9+.-]+):/+(.+)")


class Uri(str):
    """A URI such as s3://bucket/runs/x; other text is a ValueError."""

    __slots__ = ()

    def __new__(cls, text: str) -> "Uri":
        """Check `text` and strip trailing slashes."""
        if not isinstance(text, str) or not _URI.fullmatch(text):
            raise ValueError(f"{text!r} is not a URI such as s3://bucket/folder")
        return super().__new__(cls, text.rstrip("/"))

    @property
    def name(self) -> str:
        """The last part of its path, or its host."""
        return urlsplit(self).path.rpartition("/")[2] or urlsplit(self).netloc

    def below(self, path: str) -> "Uri":
        """The URI of a relative path below this one."""
        parts = urlsplit(self)
        return Uri(urlunsplit(parts._replace(path=f"{parts.path}/{path}")))


def parse_place(given: "str | Path | Uri") -> "Uri | Path":
    """The URI or path that a program has given."""
    return Uri(given) if isinstance(given, str) and "://" in given else Path(given)


def shown(text: str) -> str:
    """`text` with the credentials in its URIs masked."""
    return re.sub(r"[A-Za-z][A-Za-z0-9+.-]*://\S+", lambda match: _masked(match.group()), text)


def refuse_credentials(uri: str, name: str) -> None:
    """Refuse a URI that would carry a credential into files and logs.

    Args:
        uri: the URI.
        name: the setting that it was given for.

    Raises:
        ValueError: it holds a credential or an unknown option.
    """
    if (covered := _masked(uri)) != uri:
        raise ValueError(
            f"{name}={covered} carries a credential or an unknown option (masked here), which "
            "would be written to configuration and logs: leave it out and give credentials in "
            f"the environment, such as AWS_ACCESS_KEY_ID; options allowed: "
            f"{', '.join(sorted(HARMLESS))}"
        )


def squashed(path: Path) -> str | None:
    """The URI that a path such as s3:/bucket/x was made from; None for other paths."""
    match = _SQUASHED.match(str(path))
    return f"{match.group(1)}://{match.group(2)}" if match else None


def _masked(uri: str) -> str:
    parts = urlsplit(uri)
    host, query = parts.netloc, parts.query
    user, at, place = host.rpartition("@")
    is_name = parts.scheme.lower() in _SCHEMES_WITH_USER and ":" not in user
    if at and not is_name and not (parts.scheme == "gs" and user == "anonymous"):
        host = f"***@{place}"
    secret = [v for k, v in parse_qsl(query, keep_blank_values=True) if k not in HARMLESS]
    if secret:
        query = "&".join(
            pair if pair.partition("=")[0] in HARMLESS else f"{pair.partition('=')[0]}=***"
            for pair in query.split("&")
        )
    if (host, query) == (parts.netloc, parts.query):
        return uri
    return urlunsplit(parts._replace(netloc=host, query=query))
