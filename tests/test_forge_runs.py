"""What the runners of the fake GitHub make of workflow files, rule by rule.

`test_forge` has a run of two jobs that goes well; these take longer, and say what may go wrong.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests import forge, repos
from tests.forge import Actions, At, Hub, Repository, Token, ask, push, results, workflow
from tests.forge.jobs import Word
from tests.repos import Repo

pytestmark = pytest.mark.slow


def runs_of(hub: Hub, repo: Repo, text: str, **about: Any) -> tuple[Repository, list[forge.Run]]:
    """Push a workflow file to a new repository and execute what it starts."""
    workflow(repo, text)
    shop = hub.repository("alice/shop")
    assert push(hub, repo, shop, hub.person("alice")) == ""
    return shop, Actions(hub, **about).drain()


def test_jobs_follow_needs_conditions_and_matrices(hub: Hub, repo: Repo) -> None:
    _, (run,) = runs_of(
        hub,
        repo,
        """
        on: push
        jobs:
          list:
            runs-on: ubuntu-latest
            outputs: {all: "${{ steps.s.outputs.all }}"}
            steps: [{id: s, run: 'echo all=[1,2] >>"$GITHUB_OUTPUT"'}]
          each:
            needs: list
            runs-on: ubuntu-latest
            strategy:
              fail-fast: false
              matrix:
                n: ${{ fromJSON(needs.list.outputs.all) }}
                include: [{n: 2, more: yes}, {n: 3}]
                exclude: [{n: 1}]
            steps: [{run: 'test "$N$MORE" = 2yes', env: {N: "${{ matrix.n }}", MORE: "${{ matrix.more }}"}}]
          after: {needs: each, runs-on: ubuntu-latest, steps: [{run: "true"}]}
          later: {needs: after, runs-on: ubuntu-latest, steps: [{run: "true"}]}
          always:
            needs: [each, after]
            if: ${{ !cancelled() && needs.after.result == 'skipped' }}
            runs-on: ubuntu-latest
            steps: [{run: "true"}]
          failed: {needs: each, if: failure(), runs-on: ubuntu-latest, steps: [{run: "true"}]}
        """,
    )
    assert run.conclusion == "failure"
    assert results([run]) == {
        "list": "success",
        "each (2, yes)": "success",
        "each (3)": "failure",
        "always": "success",
        "failed": "success",
    }


def test_a_step_that_fails_decides_about_the_next_ones(hub: Hub, repo: Repo) -> None:
    _, (run,) = runs_of(
        hub,
        repo,
        """
        on: push
        env: {A: file}
        defaults: {run: {shell: bash}}
        jobs:
          go:
            runs-on: ubuntu-latest
            env: {B: "job ${{ github.ref_name }}"}
            steps:
              - {id: soft, continue-on-error: true, run: exit 3}
              - {run: 'test "$A $B $C" = "file job main step"', env: {C: step}}
              - {run: echo D=later >>"$GITHUB_ENV"; mkdir bin; echo "$PWD/bin" >>"$GITHUB_PATH"}
              - {run: 'test "$D" = later; test "${PATH%%:*}" = "$PWD/bin"'}
              - {if: steps.soft.outcome == 'failure' && steps.soft.conclusion == 'success', run: "true"}
              - {run: false | true}
              - {run: "true"}
              - {if: failure(), run: "true"}
              - {if: always() && job.status == 'failure', run: "true"}
        """,
    )
    (job,) = run.jobs
    assert [step.conclusion for step in job.steps] == [
        *["success"] * 5,
        "failure",
        "skipped",
        *["success"] * 2,
    ], job.log


def test_what_is_printed_speaks_to_the_runner_until_it_is_stopped(hub: Hub, repo: Repo) -> None:
    _, (run,) = runs_of(
        hub,
        repo,
        """
        on: push
        jobs:
          go:
            runs-on: ubuntu-latest
            steps:
              - run: |
                  echo "::add-mask::hidden"
                  echo "::stop-commands::word"
                  echo "::error::an agent said so"
                  echo "::word::"
                  echo "::error file=plans/a.yaml,line=3,title=plan::unknown key"
        """,
    )
    (job,) = run.jobs
    assert job.masks == ["hidden"]
    assert job.annotations == [
        {
            "level": "error",
            "message": "unknown key",
            "file": "plans/a.yaml",
            "line": "3",
            "title": "plan",
        }
    ]


CALLER = """
    on: push
    permissions: {{}}
    jobs:
      one:
        permissions: {{contents: {level}}}
        uses: {uses}
        with: {{plan: auth}}
        secrets: {{key: "${{{{ secrets.KEY }}}}"}}
      two:
        needs: one
        runs-on: ubuntu-latest
        steps: [{{run: 'test "${{{{ needs.one.outputs.said }}}}" = "auth from tool"'}}]
    """
CALLEE = """
    on:
      workflow_call:
        inputs: {plan: {type: string, required: true}}
        secrets: {key: {required: true}}
        outputs: {said: {value: "${{ jobs.inner.outputs.said }}"}}
    permissions: {}
    jobs:
      inner:
        runs-on: ubuntu-latest
        permissions: {contents: write}
        outputs: {said: "${{ steps.act.outputs.said }}"}
        steps:
          - uses: actions/checkout@v7
            with: {repository: "${{ job.workflow_repository }}", ref: "${{ job.workflow_sha }}", path: .tool}
          - id: act
            uses: ./.tool
            with: {plan: "${{ inputs.plan }}"}
          - run: test "$KEY" = swordfish
            env: {KEY: "${{ secrets.key }}"}
    """
ACTION = """
    name: tool
    description: says something
    inputs: {plan: {description: p}, from: {description: f, default: tool}}
    outputs: {said: {description: s, value: "${{ steps.s.outputs.said }}"}}
    runs:
      using: composite
      steps:
        - id: s
          shell: bash
          env: {PLAN: "${{ inputs.plan }}", FROM: "${{ inputs.from }}"}
          run: |
            test -f "$GITHUB_ACTION_PATH/action.yml"
            echo "said=$PLAN from $FROM" >>"$GITHUB_OUTPUT"
    """


@pytest.mark.parametrize("where", ["a repository at a commit", "a folder"])
def test_a_workflow_of_another_repository_is_called_with_its_action(
    hub: Hub, repo: Repo, tmp_path: Path, where: str
) -> None:
    tool = repos.init(tmp_path / "tool")
    workflow(tool, CALLEE, "called")
    tool.write("action.yml", textwrap.dedent(ACTION))
    sha = tool.commit("action")
    if where == "a folder":
        Actions(hub).map("bob/tool", tool.path)
    else:
        hub.repository("bob/tool", tool)
    workflow(
        repo, CALLER.format(level="write", uses=f"bob/tool/.github/workflows/called.yml@{sha}")
    )
    shop = hub.repository("alice/shop")
    shop.secrets["KEY"] = "swordfish"
    push(hub, repo, shop, hub.person("alice"))
    (run,) = Actions(hub).drain()
    assert results([run]) == {"one / inner": "success", "two": "success"}, run.jobs[0].log
    assert hub.executed["bob/tool .github/workflows/called.yml inner"] == 1


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            CALLER.format(level="read", uses="./.github/workflows/called.yml"),
            "Error calling workflow '.github/workflows/called.yml'. The nested job 'inner' is"
            " requesting 'contents: write', but is only allowed 'contents: read'.",
        ),
        (
            CALLER.format(level="write", uses="./.github/workflows/gone.yml"),
            "error parsing called workflow: ./.github/workflows/gone.yml : workflow was not found.",
        ),
        (
            "on: push\njobs:\n  a: {runs-on: x, steps: [{run: '${{ secret.x }}'}]}\n",
            ".github/workflows/w.yml (Line: 3, Col: 33): Unrecognized named-value: 'secret'",
        ),
        (
            "on: push\nconcurrency: {group: a, queue: max, cancel-in-progress: true}\n"
            "jobs:\n  a: {runs-on: x, steps: [{run: 'true'}]}\n",
            "queue: max cannot be used with cancel-in-progress: true",
        ),
    ],
)
def test_a_file_that_github_refuses_starts_nothing(
    hub: Hub, repo: Repo, text: str, error: str
) -> None:
    workflow(repo, CALLEE, "called")
    _, (run,) = runs_of(hub, repo, text)
    assert (run.conclusion, run.error, run.jobs) == ("startup_failure", error, [])


GROUPED = """
    on: {{workflow_dispatch: {{inputs: {{n: {{type: string}}}}}}}}
    run-name: ${{{{ inputs.n }}}}
    {workflow}
    jobs:
      go:
        runs-on: ubuntu-latest
        {job}
        steps: [{{run: "true"}}]
    """


@pytest.mark.parametrize("level", ["workflow", "job"])
@pytest.mark.parametrize(
    ("more", "ends"),
    [
        ("", ["success", "cancelled", "cancelled", "success"]),
        ("queue: max", ["success"] * 4),
        ("cancel-in-progress: true", ["cancelled", "cancelled", "cancelled", "success"]),
    ],
)
def test_a_group_lets_one_in_and_keeps_the_newest_or_all(
    hub: Hub, repo: Repo, alice: Token, level: str, more: str, ends: list[str]
) -> None:
    lines = f"concurrency: {{group: 'G-${{{{ github.repository }}}}', {more}}}"
    workflow(repo, GROUPED.format(**{"workflow": "", "job": "", level: lines}))
    shop = hub.repository("alice/shop", repo)
    for n in range(4):
        hub.dispatch(shop, alice, ".github/workflows/w.yml", "main", {"n": str(n)})
    Actions(hub).drain()
    assert [run.conclusion for run in shop.runs.values()] == ends


FIVE_STEPS = """
    on: push
    jobs:
      one:
        runs-on: ubuntu-latest
        steps: [{run: "true"}, {run: "true"}, {if: always(), run: "true"}]
      two: {needs: one, if: always(), runs-on: ubuntu-latest, steps: [{run: "true"}]}
      three: {needs: one, runs-on: ubuntu-latest, steps: [{run: "true"}]}
    """


@pytest.mark.parametrize(
    ("word", "at", "steps", "jobs"),
    [
        ("cancel", 1, ["skipped", "skipped", "success"], ["cancelled", "success"]),
        ("cancel", 2, ["success", "skipped", "success"], ["cancelled", "success"]),
        ("cancel", 3, ["success", "success", "success"], ["cancelled", "success"]),
        ("die", 2, ["success", None, None], ["failure", "success"]),
    ],
)
def test_a_run_is_cancelled_or_loses_its_runner_before_any_step(
    hub: Hub, repo: Repo, word: Word, at: int, steps: list[str | None], jobs: list[str]
) -> None:
    def look(moment: At) -> Word:
        return word if (moment.job.node.id, moment.number) == ("one", at) else "go"

    _, (run,) = runs_of(hub, repo, FIVE_STEPS, at_step=look)
    assert [step.conclusion for step in run.jobs[0].steps] == steps
    assert [job.conclusion for job in run.jobs] == jobs
    assert run.conclusion == ("cancelled" if word == "cancel" else "failure")


def test_a_step_that_runs_is_ended_when_its_run_is_cancelled(
    hub: Hub, repo: Repo, alice: Token, tmp_path: Path
) -> None:
    # It cancels its own run, by the API and with its own token, and then waits for the end.
    cancel = "repos/alice/shop/actions/runs/$GITHUB_RUN_ID/cancel"
    _, (run,) = runs_of(
        hub,
        repo,
        f"""
        on: push
        jobs:
          go:
            runs-on: ubuntu-latest
            permissions: {{actions: write}}
            timeout-minutes: 10
            steps:
              - env: {{TOKEN: "${{{{ github.token }}}}"}}
                run: |
                  trap 'echo ended; exit 3' INT
                  sleep 300 &
                  python - <<'END'
                  import os, urllib.request as web
                  url = os.path.expandvars("$GITHUB_API_URL/{cancel}")
                  token = {{"Authorization": "Bearer " + os.environ["TOKEN"]}}
                  print(web.urlopen(web.Request(url, b"", token)).status)
                  END
                  wait
              - {{if: cancelled(), run: echo after}}
        """,
        grace=5.0,
    )
    (job,) = run.jobs
    assert (run.conclusion, job.conclusion) == ("cancelled", "cancelled")
    assert [line for line in job.log.splitlines() if ":" not in line] == ["202", "ended", "after"]


def test_a_job_that_takes_too_long_is_cancelled(hub: Hub, repo: Repo) -> None:
    text = """
        on: push
        jobs:
          go:
            runs-on: ubuntu-latest
            timeout-minutes: 5
            steps: [{run: sleep 300}, {if: always(), run: "true"}]
        """
    _, (run,) = runs_of(hub, repo, text, minute=0.05, grace=0.2)
    (job,) = run.jobs
    assert job.conclusion == "cancelled"
    assert [step.conclusion for step in job.steps] == ["cancelled", "success"]


def test_a_run_that_is_done_again_keeps_its_number_and_counts_the_attempt(
    hub: Hub, repo: Repo, alice: Token
) -> None:
    text = """
        on: push
        jobs: {go: {runs-on: ubuntu-latest, steps: [{run: 'test "$GITHUB_RUN_ATTEMPT" = 2'}]}}
        """
    shop, (run,) = runs_of(hub, repo, text)
    assert run.conclusion == "failure"
    request = f"POST /repos/alice/shop/actions/runs/{run.id}/rerun"
    assert ask(hub, alice, request).status == 201
    Actions(hub).drain()
    assert (list(shop.runs), run.attempt, run.conclusion) == ([run.id], 2, "success")


def test_the_secrets_of_an_environment_are_for_its_branches(
    hub: Hub, repo: Repo, alice: Token
) -> None:
    text = """
        on: push
        jobs:
          go:
            environment: safe
            runs-on: ubuntu-latest
            steps: [{run: 'test "$KEY" = swordfish', env: {KEY: "${{ secrets.KEY }}"}}]
        """
    workflow(repo, text)
    shop = hub.repository("alice/shop")
    shop.environments["safe"] = forge.Environment({"KEY": "swordfish"}, ("main",))
    push(hub, repo, shop, alice, "HEAD:main", "HEAD:other")
    ends = {run.branch: run.conclusion for run in Actions(hub).drain()}
    assert ends == {"main": "success", "other": "failure"}


def test_an_app_mints_a_token_whose_push_starts_the_next_run(
    hub: Hub, repo: Repo, alice: Token
) -> None:
    text = """
        on: {push: {branches: [main, task/x]}}
        jobs:
          go:
            if: github.ref_name == 'main'
            runs-on: ubuntu-latest
            permissions: {contents: read}
            steps:
              - id: app
                uses: actions/create-github-app-token@v3
                with: {app-id: "7", private-key: "${{ secrets.KEY }}"}
              - uses: actions/checkout@v7
                with: {token: "${{ steps.app.outputs.token }}"}
              - run: git push origin HEAD:refs/heads/task/x
        """
    workflow(repo, text)
    shop = hub.repository("alice/shop")
    shop.secrets["KEY"] = "swordfish"
    push(hub, repo, shop, alice)
    apps = {"7": forge.App("swordfish", {"contents": "write"})}
    runs = Actions(hub, apps=apps).drain()
    ends = {(run.branch, run.event.actor): run.conclusion for run in runs}
    assert ends == {("main", "alice"): "success", ("task/x", "helper[bot]"): "skipped"}


def test_a_branch_that_is_deleted_starts_the_default_branchs_file(
    hub: Hub, repo: Repo, alice: Token
) -> None:
    text = """
        on: {push: {branches: ["plan/**"], paths: ["plans/**"]}}
        jobs: {go: {runs-on: ubuntu-latest, steps: [{run: "true"}]}}
        """
    workflow(repo, text)
    shop = hub.repository("alice/shop", repo)
    shop.git.git("branch", "plan/x", "main")
    assert push(hub, repo, shop, alice, ":plan/x") == ""
    (run,) = Actions(hub).drain()
    assert (run.event.payload["ref"], run.event.ref) == ("refs/heads/plan/x", "refs/heads/main")
    assert (run.event.sha, run.event.payload["after"]) == (repo.sha(), "0" * 40)


def test_git_is_refused_and_left_without_an_answer_on_demand(
    hub: Hub, shop: Repository, repo: Repo, alice: Token
) -> None:
    repo.commit("more")
    hub.refuse("GIT alice/shop.git/info/refs", 502)
    assert "502" in push(hub, repo, shop, alice)
    hub.refuse("GIT alice/shop.git/git-receive-pack", "lost")
    assert push(hub, repo, shop, alice) != ""
    assert shop.head("main") == repo.sha()
