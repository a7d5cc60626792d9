"""What is taken for a secret, so that none gets into a commit that others see.

Two things are: a text that has the form of some service's key, by the rules of detect-secrets and
the few of FORMS, and the value of a secret that this process was started with.  Rules that guess
from a name or from randomness are left out: an honest task must not fail for its test data.  What
is found is told by its kind and its place, never by what it says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any

RULES = {
    "aws": "AWSKeyDetector",
    "azure_storage_key": "AzureStorageKeyDetector",
    "discord": "DiscordBotTokenDetector",
    "github_token": "GitHubTokenDetector",
    "gitlab_token": "GitLabTokenDetector",
    "mailchimp": "MailchimpDetector",
    "private_key": "PrivateKeyDetector",
    "pypi_token": "PypiTokenDetector",
    "sendgrid": "SendGridDetector",
    "slack": "SlackDetector",
    "square_oauth": "SquareOAuthDetector",
    "stripe": "StripeDetector",
    "telegram_token": "TelegramBotTokenDetector",
    "twilio": "TwilioKeyDetector",
}
"""The plugins of detect-secrets whose secrets have a form of their own, and the class of each."""

FORMS: Mapping[str, str] = {
    "Anthropic key": r"\bsk-ant-[a-z0-9]+-[\w-]{40,}",
    "OpenAI key": r"\bsk-(?:(?:proj|svcacct|admin)-[\w-]{40,}|[\w-]{20,100}T3BlbkFJ[\w-]*)",
    "Google API key": r"\bAIza[\w-]{35}\b",
    "GitHub fine-grained token": r"\bgithub_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}\b",
    "npm token": r"\bnpm_[A-Za-z0-9]{36}\b|:_authToken=[A-Fa-f0-9-]{36}\b",
    "Hugging Face token": r"\bhf_[A-Za-z]{34}\b",
}
"""Keys that detect-secrets does not know, or for which it takes the square of a line's length."""

_COULD_BE = re.compile(rb"[\w+/=.:-]{20}|PRIVATE KEY|PuTTY-User-Key")
"""What a text has to hold before it is worth looking closer: loading the rules takes a while."""
_KEY_FILE = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?!-----END ).)*(?:-----END [A-Z0-9 ]*-----)?",
    re.DOTALL,
)
_IS_SECRET = re.compile(
    r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|WEBHOOK(?:_URL)?)$", re.IGNORECASE
)
"""What a variable is called that holds one; who knows the address of a webhook may write there."""
_KEPT = re.compile(
    r"""(?ix) (?<![\w-]) ["']? ((?:[\w-]*(?:api[-_]?key|token|secret|password))|key|access|refresh)
    ["']? \s* [:=] \s* ["']? ([^\s"',}]+)"""
)
SHORTEST = 16
"""Characters of the shortest value of a variable that is looked for."""
_PIECE, _OVERLAP = 8192, 2048
"""A line is looked at in pieces, so that no rule can take long for it."""
HIDDEN = "[a secret was here]"


def known(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the secrets of an environment: the name of each variable by its value.

    What is a path, or more than one word, is none.
    """
    named = {value.strip(): name for name, value in environ.items() if _IS_SECRET.search(name)}
    return {
        value: name
        for value, name in named.items()
        if len(value) >= SHORTEST and not value.startswith(("/", "~")) and len(value.split()) == 1
    }


def kept(text: str, where: str) -> dict[str, str]:
    """Return the secrets in a file of settings or of a login: the name of each by its value.

    JSON, TOML, YAML and lines of `NAME=value` are read alike; what is a path, or stands for a
    variable, is none.
    """
    return {
        value: f"{name} in {where}"
        for name, value in _KEPT.findall(text)
        if len(value) >= SHORTEST and not value.startswith(("/", "~", "{", "$"))
    }


def could_hold(data: bytes, secrets: Mapping[str, str]) -> bool:
    """Say whether it is worth looking for secrets in a text; `secrets` as `known` has them."""
    return bool(_COULD_BE.search(data)) or any(
        secret.encode(errors="replace") in data for secret in secrets
    )


def kind(line: bytes, secrets: Mapping[str, str]) -> str:
    """Return what kind of secret is in a line, or an empty string."""
    if not could_hold(line, secrets):
        return ""
    return next((kind for kind, _ in _found(line.decode(errors="replace"), secrets)), "")


def hidden(text: str, secrets: Mapping[str, str]) -> str:
    """Return a text without the secrets in it."""
    if not could_hold(text.encode(errors="replace"), secrets):
        return text
    text = _KEY_FILE.sub(HIDDEN, text)  # its first line alone tells what it is
    return "\n".join(_without(line, secrets) for line in text.split("\n"))


def hidden_in(value: Any, secrets: Mapping[str, str]) -> Any:
    """Return lists and mappings, all their texts without the secrets in them."""
    if isinstance(value, str):
        return hidden(value, secrets)
    if isinstance(value, dict):
        return {key: hidden_in(item, secrets) for key, item in value.items()}
    return [hidden_in(item, secrets) for item in value] if isinstance(value, list) else value


def _without(line: str, secrets: Mapping[str, str]) -> str:
    for secret in sorted({secret for _, secret in _found(line, secrets)}, key=len, reverse=True):
        line = line.replace(secret, HIDDEN)
    return line


def _found(line: str, secrets: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield what kind of secret each one in a line is, and the secret."""
    for secret, name in secrets.items():
        if secret in line:
            yield f"the value of {name}", secret
    for start in range(0, max(1, len(line) - _OVERLAP), _PIECE - _OVERLAP):
        piece = line[start : start + _PIECE]
        for kind, pattern in _patterns():
            for match in pattern.finditer(piece):
                if not _is_stand_in(match[0]):
                    yield kind, match[0]


def _is_stand_in(secret: str) -> bool:
    """Say whether a text only shows what a key looks like: AKIA…EXAMPLE, ghp_xxxxxxxx."""
    if " " in secret:
        return False  # the first line of a key file, which has only its words
    return "example" in secret.casefold() or len(set(secret[-16:])) <= 2


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    rules = [
        (str(detector.secret_type), pattern)
        for module, name in RULES.items()
        for detector in [getattr(import_module(f"detect_secrets.plugins.{module}"), name)]
        for pattern in detector.denylist
    ]
    return (*((kind, re.compile(form)) for kind, form in FORMS.items()), *rules)


__all__ = ["FORMS", "HIDDEN", "RULES", "could_hold", "hidden", "hidden_in", "kept", "kind", "known"]
