"""What is taken for a secret, and that none of it reaches a commit that others see."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gitflow_agents import leaks
from gitflow_agents.commands import Refused
from tests import engine
from tests.engine import task
from tests.repos import Repo

# Put together here, so that no tool takes this file for a leak.
GITHUB = "ghp" + "_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
AWS = "AKIA" + "Q3EGZT7WLH5BVN2K"
ANTHROPIC = "sk-ant-" + "api03-" + "Zx9" * 20
PRIVATE = "-----BEGIN " + "RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (f"token = '{GITHUB}'", "GitHub Token"),
        (f"aws_access_key_id={AWS}", "AWS Access Key"),
        (f"KEY={ANTHROPIC}", "Anthropic key"),
        ("key: AIza" + "SyD3x9Q7w2E8r4T6y1U5i0P3a7S9d2F4gHj", "Google API key"),
        (PRIVATE, "Private Key"),
        (
            "OPENAI_API_KEY=sk-" + "a1B2c3D4e5F6g7H8i9J0" + "T3BlbkFJ" + "k1L2m3N4o5P6q7R8s9T0",
            "OpenAI key",
        ),
        ("sk-proj-" + "a1-B2_c3" * 12, "OpenAI key"),
        (
            "//registry.npmjs.org/:_authToken="
            + "npm_"
            + "a1B2c3D4e5F6g7H8i9J0"
            + "k1L2m3N4o5P6q7R8",
            "npm token",
        ),
        ("x" * 20_000 + " " + GITHUB, "GitHub Token"),
        ("password is open-sesame-4711", "the value of DB_PASSWORD"),
    ],
)
def test_the_form_of_a_key_and_the_value_of_a_variable_are_secrets(line: str, kind: str) -> None:
    secrets = leaks.known({"DB_PASSWORD": "open-sesame-4711"})
    assert leaks.kind(line.encode(), secrets) == kind


@pytest.mark.parametrize(
    "line",
    [
        "password = 'hunter2'",
        "AKIA" + "IOSFODNN7EXAMPLE",
        "token: ghp_" + "x" * 36,
        "DATABASE_URL=postgres://postgres:postgres@localhost:5432/app",
        '"integrity": "sha512-9JTqXkHuIQkpYb3vVbUUJsGmHzP8HDFyTD/6wVwYQwHCMxSgKEDJgGcMqzp4KdFHGfZJ=="',
        "commit 8f14e45fceea167a5a36dedd4bea2543c0b5f7ba",
        'value = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"',
        "def test_a_wrong_password_is_refused_and_the_hash_is_never_logged(): ...",
        "//registry.npmjs.org/:_authToken=${NPM_TOKEN}",
        "192.168.0.1 /home/user/.ssh/id_ed25519",
    ],
)
def test_what_honest_work_is_full_of_is_none(line: str) -> None:
    assert leaks.kind(line.encode(), {}) == ""


def test_only_one_long_word_in_a_variable_with_a_telling_name_is_looked_for() -> None:
    environ = {
        "ANTHROPIC_API_KEY": "0123456789abcdef",
        "API_TOKEN": "short",
        "SSH_KEY": "/home/alice/.ssh/id_ed25519",
        "SIGNING_KEY": "two words of some length",
        "EDITOR": "0123456789abcdefghi",
        "KEYBOARD": "0123456789abcdefghj",
    }
    assert leaks.known(environ) == {"0123456789abcdef": "ANTHROPIC_API_KEY"}


def test_the_address_of_a_webhook_is_looked_for() -> None:
    address = "https://chat.example.com/hooks/4711"
    secrets = leaks.known({"GITFLOW_WEBHOOK": address})
    assert secrets == {address: "GITFLOW_WEBHOOK"}
    assert leaks.kind(b"curl " + address.encode(), secrets) == "the value of GITFLOW_WEBHOOK"
    assert leaks.known({"SLACK_WEBHOOK_URL": address}) == {address: "SLACK_WEBHOOK_URL"}


def test_a_secret_is_taken_out_of_everything_that_is_said() -> None:
    said = {"summary": f"I used {GITHUB}\nand more", "learned": ["x", f"{AWS}!"], "turns": 3}
    assert leaks.hidden_in(said, {}) == {
        "summary": f"I used {leaks.HIDDEN}\nand more",
        "learned": ["x", f"{leaks.HIDDEN}!"],
        "turns": 3,
    }


def test_of_a_private_key_no_line_is_said() -> None:
    body = "\n".join(["a1B2c3D4" * 8] * 3)
    end = "-----END " + "RSA PRIVATE KEY-----"
    assert (
        leaks.hidden(f"see:\n{PRIVATE}\n{body}\n{end}\nmore", {}) == f"see:\n{leaks.HIDDEN}\nmore"
    )
    assert leaks.hidden(f"see:\n{PRIVATE}\n{body}", {}) == f"see:\n{leaks.HIDDEN}"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"tokens":{"access_token":"a.long-one_0123456789","token_type":"Bearer-of-something"}}', ["access_token"]),
        ('{"x": {"type": "oauth",\n "refresh": "0123456789abcdef", "expires": 1}}', ["refresh"]),
        ('{"accessToken": "0123456789abcdef"}', ["accessToken"]),
        ("export GEMINI_API_KEY=0123456789abcdef\n", ["GEMINI_API_KEY"]),
        ("openai-api-key: '0123456789abcdef'\n", ["openai-api-key"]),
        ('experimental_bearer_token = "0123456789abcdef"', ["experimental_bearer_token"]),
        ('{"apiKey": "{env:OPENAI_API_KEY}", "OPENAI_API_KEY": null, "token": "short"}', []),
        ('{"apiKeyHelper": "0123456789abcdef", "monkey": "0123456789abcdef"}', []),
        ("key: /home/alice/.ssh/id_ed25519", []),
    ],
)  # fmt: skip
def test_what_a_login_or_settings_hold_is_known_by_its_name(text: str, found: list[str]) -> None:
    assert list(leaks.kept(text, "~/f").values()) == [f"{name} in ~/f" for name in found]


def test_the_token_of_an_agents_login_reaches_no_branch_and_neither_does_its_successor(
    repo: Repo, home: Path
) -> None:
    login = home / ".codex" / "auth.json"
    login.parent.mkdir()
    login.write_text('{"tokens": {"access_token": "this-is-the-first-one"}}')
    renew = f"""printf '{{"access_token":"%s-second-one"}}' "this-is-the" > {login}; """
    engine.plan(
        repo,
        task("1", f"cp {login} a"),
        task("2", f"{renew}cp {login} b"),
    )
    assert engine.go(repo, jobs=1).code == 4
    for id, path in (("1", "a"), ("2", "b")):
        kept = engine.record(repo, id)
        (left,) = (repo.path / ".worktrees/p").glob(f"{id}.left-*")
        said = "the value of access_token in ~/.codex/auth.json"
        assert (kept["reason"], kept["message"]) == (
            "secret-found",
            f"{path}, line 1, holds what looks like a secret ({said}); the work is in {left} only",
        )
    assert not {b"this-is-the-first-one", b"this-is-the-second-one"} & set(
        everything(repo).replace(b'"', b" ").split()
    )


def everything(repo: Repo) -> bytes:
    """Return every object that a ref leads to."""
    shas = repo.git("rev-list", "--objects", "--all", "--no-object-names").encode()
    return subprocess.run(
        ["git", "cat-file", "--batch"], cwd=repo.path, input=shas, capture_output=True, check=True
    ).stdout


COMMIT = "git add -A && git commit -qm work"
# The plan is in git, and its text is not a secret.
KEY = f"K=ghp; K=${{K}}{GITHUB[3:]}; "


@pytest.mark.parametrize(
    "run",
    [
        'echo "key = $K  # pragma: allowlist secret" > a',
        f"echo $K > a && {COMMIT} && echo none > a",
        'echo 1 > a && git add a && git commit -qm "used $K"',
        "echo $K > a; exit 3",
    ],
    ids=["in a file", "in an earlier commit", "in a message", "of a failed attempt"],
)
def test_work_with_a_secret_reaches_no_ref_and_is_named(repo: Repo, run: str) -> None:
    said = 'echo $K; echo "summary: $K" > $GITFLOW_REPORT; '
    engine.plan(repo, task("1", KEY + said + run))
    played = engine.go(repo)
    record = engine.record(repo, "1")
    (left,) = (repo.path / ".worktrees/p").iterdir()
    assert record["reason"] == "secret-found"
    assert "what looks like a secret (GitHub Token)" in record["message"]
    assert record["message"].endswith(f"; the work is in {left} only")
    assert (left / "a").is_file()
    assert GITHUB.encode() not in everything(repo)
    told = [f"{told.text}{told.detail}{told.data}" for told in played.told]
    assert [text for text in told if GITHUB in text] == []


def test_what_was_there_before_is_nobodys_leak(repo: Repo) -> None:
    repo.write("old.txt", f"{GITHUB}\n1\n")
    repo.commit("what is there")
    engine.plan(repo, task("1", "mv old.txt new.txt; echo 2 >> new.txt"))
    engine.finished(repo, engine.go(repo))
    assert repo.show("flow/p", "new.txt") == f"{GITHUB}\n1\n2\n"


def test_the_config_names_paths_where_keys_of_tests_may_be(repo: Repo) -> None:
    engine.config(repo, allow_secrets=["tests/keys/"])
    engine.plan(repo, task("1", f"{KEY}mkdir -p tests/keys; echo $K > tests/keys/a"))
    engine.finished(repo, engine.go(repo))
    assert repo.show("flow/p", "tests/keys/a") == f"{GITHUB}\n"


def test_the_next_attempt_begins_without_the_secret(repo: Repo) -> None:
    engine.plan(repo, task("1", KEY + "[ $GITFLOW_ATTEMPT = 2 ] || echo $K > b; echo 1 > a"))
    engine.go(repo)
    engine.act(repo, "retry", "1")
    assert engine.go(repo).code == 0
    assert (repo.show("flow/p", "a"), "b" in repo.tree("flow/p")) == ("1\n", False)


def test_what_a_stopped_attempt_leaves_is_looked_at_too(repo: Repo) -> None:
    stop = f"( cd {repo.path} && {sys.executable} -m gitflow_agents stop p/1 ) >/dev/null 2>&1; "
    engine.plan(repo, task("1", f"{KEY}echo $K > a; {stop}sleep 60"))
    engine.go(repo)
    assert engine.record(repo, "1")["reason"] == "stopped"
    assert GITHUB.encode() not in everything(repo)
    (left,) = (repo.path / ".worktrees/p").iterdir()
    assert (left / "a").read_text() == f"{GITHUB}\n"


def test_a_person_who_submits_a_secret_is_told_where_it_is(repo: Repo) -> None:
    engine.plan(repo, task("1", "exit 1"))
    engine.go(repo)
    engine.act(repo, "take", "1")
    branch = engine.record(repo, "1")["branch"]
    engine.commits(repo, branch, a=f"1\n{AWS}\n")
    with pytest.raises(
        Refused, match=r"a, line 2, holds what looks like a secret \(AWS Access Key\)"
    ):
        engine.act(repo, "submit", "1")
