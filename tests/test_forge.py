"""The fake GitHub keeps GitHub's rules, and its runners do what a workflow file says."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import github
import pytest

from tests import forge
from tests.forge import Actions, Hub, Repository, Token, ask, push, results, workflow
from tests.repos import Repo

CHECKOUT = "actions/checkout@" + "a" * 40

# Tokens and permissions


def test_a_token_may_what_its_job_says_and_nothing_else(
    hub: Hub, shop: Repository, repo: Repo
) -> None:
    sha = repo.sha()
    asked: dict[str, tuple[str, Any]] = {
        "issues": ("POST /repos/alice/shop/issues", {"title": "x"}),
        "checks": ("POST /repos/alice/shop/check-runs", {"name": "x", "head_sha": sha}),
        "contents": (
            "POST /repos/alice/shop/git/refs",
            {"ref": "refs/heads/new", "sha": sha},
        ),
        "statuses": (f"POST /repos/alice/shop/statuses/{sha}", {"state": "success"}),
    }
    found = {
        (granted, level, scope): ask(hub, hub.mint(shop, {granted: level}), request, body).status
        for granted, level, (scope, (request, body)) in itertools.product(
            asked, ("read", "write"), asked.items()
        )
    }
    assert found == {key: 201 if key[0] == key[2] and key[1] == "write" else 403 for key in found}


def test_a_token_is_over_with_its_job(hub: Hub, shop: Repository) -> None:
    token = hub.mint(shop, {"issues": "write"})
    token.is_over = True
    assert ask(hub, token, "GET /repos/alice/shop").status == 401


def test_a_private_repository_is_not_there_for_others(hub: Hub, repo: Repo) -> None:
    hub.repository("alice/safe", repo, private=True)
    other = hub.repository("bob/other", repo)
    people = (None, hub.person("bob"), hub.mint(other, {"contents": "write"}), hub.person("alice"))
    found = [ask(hub, one, "GET /repos/alice/safe").status for one in people]
    assert found == [404, 404, 404, 200]


def test_a_push_needs_the_right_to_write(hub: Hub, shop: Repository, repo: Repo) -> None:
    repo.git("switch", "--quiet", "--create", "task/x")
    repo.commit("work")
    reader = hub.mint(shop, {"contents": "read"})
    assert "403" in push(hub, repo, shop, reader)
    writer = hub.mint(shop, {"contents": "write"})
    assert push(hub, repo, shop, writer) == ""
    assert shop.head("task/x") == repo.sha()


@pytest.mark.slow  # pushes; that a push needs the right to write is fast
def test_a_jobs_token_pushes_no_workflow_file_and_a_person_does(
    hub: Hub, shop: Repository, repo: Repo, alice: Token
) -> None:
    repo.git("switch", "--quiet", "--create", "task/x")
    workflow(repo, "on: push\njobs: {}\n")
    said = push(hub, repo, shop, hub.mint(shop, {"contents": "write"}))
    assert "refusing to allow a GitHub App to create or update workflow" in said
    assert shop.head("task/x") is None
    assert push(hub, repo, shop, alice) == ""


@pytest.mark.slow  # pushes, as above
def test_a_protected_branch_moves_for_those_who_are_named(
    hub: Hub, shop: Repository, repo: Repo, alice: Token
) -> None:
    shop.protected["main"] = {"alice"}
    repo.commit("more")
    assert "GH006" in push(hub, repo, shop, hub.mint(shop, {"contents": "write"}))
    assert push(hub, repo, shop, alice) == ""


# Pull requests


def flow(hub: Hub, shop: Repository, repo: Repo, by: Token, name: str = "flow/x") -> str:
    """Push a branch with one commit of its own, and return its name."""
    repo.git("switch", "--quiet", "--create", name)
    repo.commit("work")
    assert push(hub, repo, shop, by) == ""
    return name


def test_actions_may_be_forbidden_to_open_pull_requests(
    hub: Hub, shop: Repository, repo: Repo, alice: Token
) -> None:
    flow(hub, shop, repo, alice)
    asked = {"title": "x", "head": "flow/x", "base": "main", "draft": True}
    token = hub.mint(shop, {"pull-requests": "write"})
    request = "POST /repos/alice/shop/pulls"
    shop.allow_pull_requests = False
    refused = ask(hub, token, request, asked)
    shop.allow_pull_requests, shop.allow_drafts = True, False
    no_draft = ask(hub, token, request, asked)
    shop.allow_drafts = True
    opened = ask(hub, token, request, asked)
    again = ask(hub, token, request, asked)
    assert [one.status for one in (refused, no_draft, opened, again)] == [403, 422, 201, 422]
    assert (
        refused.value["message"]
        == "GitHub Actions is not permitted to create or approve pull requests."
    )
    assert again.value["errors"][0]["message"] == "A pull request already exists for alice:flow/x."


@pytest.mark.slow  # the whole schema of GraphQL is read; that REST leaves drafts alone is fast
def test_a_draft_becomes_ready_by_graphql(
    hub: Hub, shop: Repository, repo: Repo, alice: Token
) -> None:
    flow(hub, shop, repo, alice)
    token = hub.mint(shop, {"pull-requests": "write", "metadata": "read"})
    there = github.Github(auth=github.Auth.Token(token.text), base_url=hub.api, retry=None)
    pull = there.get_repo("alice/shop").create_pull(
        base="main", head="flow/x", title="Flow", draft=True
    )
    pull.mark_ready_for_review()
    assert not ask(hub, token, "GET /repos/alice/shop/pulls/1").value["draft"]
    reader = hub.mint(shop, {"pull-requests": "read"})
    document = (
        "mutation($id: ID!) { convertPullRequestToDraft(input: {pullRequestId: $id})"
        " { pullRequest { isDraft } } }"
    )
    assert forge.query(hub, reader, document, id=pull.node_id)["errors"][0]["type"] == "FORBIDDEN"
    done = forge.query(hub, token, document, id=pull.node_id)
    assert done == {"data": {"convertPullRequestToDraft": {"pullRequest": {"isDraft": True}}}}
    forge.query(hub, token, "{ viewer { login isAdmin } }")
    forge.query(hub, token, "{ viewer { login isHireable } }")
    assert told(hub) == [
        "GraphQL: Cannot query field 'isAdmin' on type 'User'.",
        "GraphQL: the fake has no User.isHireable, GitHub has",
    ]


def test_rest_cannot_end_a_draft(hub: Hub, shop: Repository, repo: Repo, alice: Token) -> None:
    flow(hub, shop, repo, alice)
    asked = {"title": "x", "head": "flow/x", "base": "main", "draft": True}
    ask(hub, alice, "POST /repos/alice/shop/pulls", asked)
    ask(hub, alice, "PATCH /repos/alice/shop/pulls/1", {"draft": False})
    name = "PATCH /repos/{owner}/{repo}/pulls/{pull_number}"
    assert told(hub) == [f"{name}: body: there is no draft"]


@pytest.mark.slow  # pushes, as above
def test_a_push_that_holds_a_pull_request_merges_it(
    hub: Hub, shop: Repository, repo: Repo, alice: Token
) -> None:
    flow(hub, shop, repo, alice)
    asked = {"title": "x", "head": "flow/x", "base": "main"}
    ask(hub, alice, "POST /repos/alice/shop/pulls", asked)
    assert push(hub, repo, shop, alice, "HEAD:main") == ""
    shown = ask(hub, alice, "GET /repos/alice/shop/pulls/1").value
    assert (shown["state"], shown["merged"], shown["merged_by"]["login"]) == (
        "closed",
        True,
        "alice",
    )


# The API as such


def told(hub: Hub) -> list[str]:
    """Return what was asked that GitHub does not know, and forgive it."""
    violations = list(hub.violations)
    hub.violations.clear()
    return violations


def test_whoever_asks_what_github_does_not_know_is_told(
    hub: Hub, shop: Repository, alice: Token
) -> None:
    ask(hub, alice, "GET /repos/alice/shop/plans")
    ask(hub, alice, "GET /repos/alice/shop/tags")
    ask(hub, alice, "GET /repos/alice/shop/pulls?status=open")
    ask(hub, alice, "POST /repos/alice/shop/issues", {"body": "x"})
    ask(hub, alice, "POST /repos/alice/shop/issues", {"title": "x", "text": "y"})
    assert told(hub) == [
        "GET /repos/alice/shop/plans: GitHub has no such request",
        "GET /repos/alice/shop/tags: GitHub has this, the fake does not",
        "GET /repos/{owner}/{repo}/pulls: there is no query parameter status",
        "POST /repos/{owner}/{repo}/issues: body: it: 'title' is a required property",
        "POST /repos/{owner}/{repo}/issues: body: there is no text",
    ]


def test_a_test_that_asked_it_has_failed(tmp_path: Path) -> None:
    def careless() -> None:
        with forge.serve(tmp_path / "hub") as hub:
            ask(hub, None, "GET /plans")

    with pytest.raises(AssertionError, match="GET /plans: GitHub has no such request"):
        careless()


def test_lists_come_in_pages(hub: Hub, shop: Repository, alice: Token) -> None:
    for number in range(5):
        ask(hub, alice, "POST /repos/alice/shop/issues", {"title": f"issue {number}"})
    page = ask(hub, alice, "GET /repos/alice/shop/issues?per_page=2&page=2")
    assert [one["number"] for one in page.value] == [3, 2]
    url = f"{hub.api}/repos/alice/shop/issues?per_page=2"
    assert page.headers["Link"] == (
        f'<{url}&page=1>; rel="prev", <{url}&page=3>; rel="next", '
        f'<{url}&page=3>; rel="last", <{url}&page=1>; rel="first"'
    )
    there = github.Github(auth=github.Auth.Token(alice.text), base_url=hub.api, per_page=2)
    assert [one.number for one in there.get_repo("alice/shop").get_issues()] == [5, 4, 3, 2, 1]


def test_the_jobs_of_a_repository_share_an_hour(hub: Hub, shop: Repository, alice: Token) -> None:
    hub.most["default alice/shop"] = 3
    tokens = [hub.mint(shop, {}) for _ in range(4)]
    replies = [ask(hub, token, "GET /repos/alice/shop") for token in tokens]
    assert [one.status for one in replies] == [200, 200, 200, 403]
    assert replies[-1].headers["X-RateLimit-Remaining"] == "0"
    assert ask(hub, alice, "GET /repos/alice/shop").status == 200


def test_trouble_comes_on_demand_and_by_seed(hub: Hub, shop: Repository, alice: Token) -> None:
    hub.refuse("GET /repos/alice/shop", 502)
    hub.limit("GET /repos/*", secondary=True)
    hub.refuse("POST /repos/alice/shop/issues", "lost")
    replies = [ask(hub, alice, "GET /repos/alice/shop") for _ in range(3)]
    assert [one.status for one in replies] == [502, 403, 200]
    assert replies[1].headers["Retry-After"] == "60"
    with pytest.raises(ConnectionError):
        ask(hub, alice, "POST /repos/alice/shop/issues", {"title": "it was done"})
    assert [one.title for one in shop.issues.values()] == ["it was done"]

    def statuses(seed: int) -> list[int]:
        hub.heal()
        hub.trouble(seed, 0.5, (500, 502))
        return [ask(hub, alice, "GET /repos/alice/shop").status for _ in range(12)]

    first = statuses(7)
    assert statuses(7) == first
    assert {200, 500, 502} == set(first)


# What starts what

ON_EVERYTHING = """
    on: {push: , pull_request: , issue_comment: , repository_dispatch: }
    jobs:
      go:
        runs-on: ubuntu-latest
        steps: [{run: "true"}]
    """


@pytest.mark.slow  # three pushes; what a push starts is fast
def test_what_a_jobs_token_does_starts_nothing_but_dispatches(
    hub: Hub, repo: Repo, alice: Token
) -> None:
    workflow(repo, ON_EVERYTHING)
    shop = hub.repository("alice/shop", repo)
    token = hub.mint(shop, {"contents": "write", "pull-requests": "write", "issues": "write"})

    def started(by: Token, branch: str) -> dict[str, str]:
        before = set(shop.runs)
        flow(hub, shop, repo, by, branch)
        number = len(shop.issues) + 1
        asked = {"title": "x", "head": branch, "base": "main"}
        assert ask(hub, by, "POST /repos/alice/shop/pulls", asked).status == 201
        comment = f"POST /repos/alice/shop/issues/{number}/comments"
        assert ask(hub, by, comment, {"body": "/status"}).status == 201
        dispatch = {"event_type": "go", "client_payload": {"a": 1}}
        assert ask(hub, by, "POST /repos/alice/shop/dispatches", dispatch).status == 204
        return {
            run.event.name: run.conclusion or run.status
            for id, run in shop.runs.items()
            if id not in before
        }

    assert started(alice, "flow/a") == dict.fromkeys(
        ("push", "pull_request", "issue_comment", "repository_dispatch"), "queued"
    )
    assert started(token, "flow/b") == {
        "pull_request": "action_required",
        "repository_dispatch": "queued",
    }
    app = hub.app(shop, token.permissions)
    assert len(started(app, "flow/c")) == 4


@pytest.mark.slow  # a push of four branches; the run of two jobs below starts with a push too
def test_a_push_starts_the_files_of_its_own_commit(
    hub: Hub, shop: Repository, repo: Repo, alice: Token
) -> None:
    repo.git("switch", "--quiet", "--create", "plan/with")
    workflow(
        repo,
        """
        on: {push: {branches: ["plan/**", "!plan/not"]}}
        jobs: {go: {runs-on: ubuntu-latest, steps: [{run: "true"}]}}
        """,
    )
    refs = ["HEAD:plan/with", "HEAD:plan/not", "HEAD:other", "main:refs/heads/plan/bare"]
    assert push(hub, repo, shop, alice, *refs) == ""
    assert [run.branch for run in shop.runs.values()] == ["plan/with"]


DISPATCHED = """
    name: task
    run-name: task ${{ inputs.task }} of ${{ inputs.plan }}
    on:
      workflow_dispatch:
        inputs:
          plan: {type: string, required: true}
          task: {type: string, default: "001"}
          kind: {type: choice, options: [one, two], default: one}
    permissions: {}
    jobs:
      go:
        runs-on: ubuntu-latest
        steps: [{run: 'test "$TASK" = 002', env: {TASK: "${{ inputs.task }}"}}]
    """


def test_a_dispatch_answers_with_its_run(hub: Hub, repo: Repo, alice: Token) -> None:
    workflow(repo, DISPATCHED, "task")
    shop = hub.repository("alice/shop", repo)
    token = hub.mint(shop, {"actions": "write"})
    request = "POST /repos/alice/shop/actions/workflows/task.yml/dispatches"

    def dispatch(ref: str = "main", **inputs: str) -> forge.Reply:
        body = {"ref": ref, "inputs": inputs, "return_run_details": True}
        return ask(hub, token, request, body)

    done = dispatch(plan="auth", task="002")
    wrong = [
        dispatch(),
        dispatch(plan="auth", other="x"),
        dispatch(plan="auth", kind="three"),
        dispatch("gone", plan="auth"),
    ]
    assert [one.value["message"] for one in wrong] == [
        "Required input 'plan' not provided",
        'Unexpected inputs provided: ["other"]',
        "Provided value 'three' for input 'kind' not in the list",
        "No ref found for: gone",
    ]
    (run,) = Actions(hub).drain()
    assert (run.id, run.name, run.conclusion) == (
        done.value["workflow_run_id"],
        "task 002 of auth",
        "success",
    )
    shown = ask(hub, token, "GET /repos/alice/shop/actions/runs?event=workflow_dispatch").value
    assert [one["display_title"] for one in shown["workflow_runs"]] == ["task 002 of auth"]
    jobs = ask(hub, token, f"GET /repos/alice/shop/actions/runs/{run.id}/jobs").value
    assert [(one["name"], one["conclusion"]) for one in jobs["jobs"]] == [("go", "success")]


def test_dispatches_get_lost_and_doubled_on_demand(hub: Hub, repo: Repo, alice: Token) -> None:
    workflow(repo, DISPATCHED, "task")
    shop = hub.repository("alice/shop", repo)
    request = "POST /repos/alice/shop/actions/workflows/task.yml/dispatches"
    body = {"ref": "main", "inputs": {"plan": "auth"}, "return_run_details": True}
    hub.transit = forge.lost("workflow_dispatch")
    id = ask(hub, alice, request, body).value["workflow_run_id"]
    assert ask(hub, alice, f"GET /repos/alice/shop/actions/runs/{id}").status == 404
    hub.transit = forge.doubled("workflow_dispatch")
    assert ask(hub, alice, request, body).status == 200
    assert len(shop.runs) == 2


# Runs


def test_a_run_of_two_jobs_hands_an_artifact_and_outputs_on(
    hub: Hub, shop: Repository, repo: Repo, alice: Token
) -> None:
    repo.git("switch", "--quiet", "--create", "plan/x")
    workflow(
        repo,
        f"""
        on: push
        permissions: {{}}
        jobs:
          execute:
            runs-on: ubuntu-latest
            permissions: {{contents: read}}
            outputs:
              said: ${{{{ steps.work.outputs.said }}}}
            steps:
              - uses: {CHECKOUT}
                with: {{persist-credentials: false}}
              - id: work
                run: |
                  ! git push origin HEAD:refs/heads/stolen
                  mkdir out
                  echo work >out/.hidden
                  git rev-parse HEAD >out/sha
                  {{ echo "said<<END"; echo one; echo two; echo END; }} >>"$GITHUB_OUTPUT"
                  echo "# Done" >>"$GITHUB_STEP_SUMMARY"
              - uses: actions/upload-artifact@{"b" * 40}
                with: {{name: bundle, path: out}}
          publish:
            needs: execute
            if: always()
            runs-on: ubuntu-latest
            permissions: {{contents: write}}
            steps:
              - uses: {CHECKOUT}
              - uses: actions/download-artifact@{"c" * 40}
                with: {{name: bundle, path: got}}
              - env: {{SAID: "${{{{ needs.execute.outputs.said }}}}"}}
                run: |
                  test "$SAID" = "one
                  two"
                  test "$(ls -A got)" = sha
                  test "$(cat got/sha)" = "$GITHUB_SHA"
                  git push origin HEAD:refs/heads/task/x
        """.replace("\n        ", "\n"),
    )
    assert push(hub, repo, shop, alice) == ""
    (run,) = Actions(hub).drain()
    execute, publish = run.jobs
    assert results([run]) == {"execute": "success", "publish": "success"}, execute.log + publish.log
    assert (execute.summary, execute.permissions) == ("# Done\n", {"contents": "read"})
    assert shop.head("task/x") == repo.sha()
    assert shop.head("stolen") is None
    assert hub.executed == {
        "alice/shop .github/workflows/w.yml execute": 1,
        "alice/shop .github/workflows/w.yml publish": 1,
    }
    read = hub.mint(shop, {"actions": "read"})
    shown = ask(hub, read, f"GET /repos/alice/shop/actions/runs/{run.id}/artifacts").value
    assert [one["name"] for one in shown["artifacts"]] == ["bundle"]
    tokens = [job.token for job in run.jobs]
    assert [token is not None and token.is_over for token in tokens] == [True, True]
    assert {one.by for one in hub.asked("GIT *") if one.by} == {
        "alice",
        ".github/workflows/w.yml execute",
        ".github/workflows/w.yml publish",
    }


def test_every_payload_of_githubs_examples_is_at_hand() -> None:
    found = list(forge.payloads())
    events = {one.event for one in found}
    assert (len(events), len(found)) == (58, 329)
    wanted = {"push", "issue_comment", "pull_request", "workflow_dispatch", "workflow_run"}
    assert wanted <= events
