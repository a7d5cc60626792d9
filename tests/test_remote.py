"""A remote decides: every move is one push there, and whatever breaks on the way loses nothing."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gitflow_agents.errors import FlowError, LostRace
from gitflow_agents.models import ZERO
from gitflow_agents.service import run as running
from gitflow_agents.service.service import Told
from gitflow_agents.store import Draft, Offline, RefRefused, Refs, Remote, Repository, Store
from gitflow_agents.store import remote as remotes
from tests import engine, repos
from tests.engine import task
from tests.git_server import Server, serve
from tests.repos import Cli, Repo

A, B = "refs/heads/flow/p", "refs/heads/gitflow/state/p"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody here waits as long for a remote as a person would."""
    monkeypatch.setattr(remotes, "PAUSE", 0.01)
    monkeypatch.setattr(running, "OFFLINE_PATIENCE", 0.3)
    monkeypatch.setattr(running, "OFFLINE_PAUSE", 0.02)
    monkeypatch.setattr(running, "OFFLINE_PAUSES", 0.1)


@pytest.fixture
def up(repo: Repo, tmp_path: Path) -> Repo:
    """Return a bare repository with `main`, the `origin` of `repo`."""
    up = repos.init(tmp_path / "served" / "up.git", bare=True)
    up.git("config", "http.receivepack", "true")
    repo.git("remote", "add", "origin", str(up.path))
    repo.git("push", "--quiet", "origin", "main")
    return up


@pytest.fixture
def clone(up: Repo, tmp_path: Path) -> Repo:
    """Return a second clone of the remote."""
    return up.clone(tmp_path / "clone")


@pytest.fixture
def server(up: Repo, repo: Repo) -> Iterator[Server]:
    """Serve the remote over http, to `repo` too."""
    with serve(up.path.parent) as server:
        repo.git("remote", "set-url", "origin", server.url(up))
        yield server


def hook(up: Repo, name: str, script: str) -> None:
    """Give the remote a hook."""
    path = up.write(f"hooks/{name}", f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


Reach = Callable[[Repo], Remote]


@pytest.fixture
def reach() -> Iterator[Reach]:
    """Return what gives the refs of the plan p at a clone's origin, read just now."""
    made: list[Remote] = []

    def reach(repo: Repo) -> Remote:
        local = Refs(Repository(repo.path))
        made.append(refs := Remote(local, "origin", "p"))
        refs.include("main", "flow/p")
        refs.refresh()
        return refs

    yield reach
    for refs in made:
        refs.close()
        refs.local.close()
        refs.repository.close()


def commits(refs: Remote, count: int) -> list[str]:
    """Return a line of commits on top of main."""
    repository, found = refs.repository, [refs.tip("main") or ""]
    for number in range(count):
        tree = repository.commit(found[-1]).tree
        found.append(repository.write_commit(tree, [found[-1]], f"commit {number}"))
    return found[1:]


def run(repo: Repo, *words: str, code: int = 0) -> str:
    """Run `gitflow-agents run` in this process and return what it printed."""
    result = Cli(repo)("run", *words, check=False)
    assert result.exit_code == code, result.stdout + result.stderr
    return result.stdout + result.stderr


# --- one move is one push -------------------------------------------------------------------------


def test_moves_are_made_together_and_nothing_of_the_persons_moves(
    reach: Reach, repo: Repo, up: Repo
) -> None:
    repo.git("fetch", "--quiet", "origin")
    before = {ref: sha for ref, sha in engine.refs(repo).items() if "refs/gitflow/" not in ref}
    fetched = (repo.path / ".git/FETCH_HEAD").read_bytes()
    refs = reach(repo)
    one, two = commits(refs, 2)
    refs.move([(A, ZERO, one), (B, ZERO, two)])
    refs.move([(A, one, ZERO), (B, two, one)])
    assert {ref: engine.refs(up).get(ref) for ref in (A, B)} == {A: None, B: one}
    assert refs.tips("refs/heads/") == {"refs/heads/main": repo.sha("main"), B: one}
    after = {ref: sha for ref, sha in engine.refs(repo).items() if "refs/gitflow/" not in ref}
    assert after == before
    assert (repo.path / ".git/FETCH_HEAD").read_bytes() == fetched


def test_one_old_value_that_no_longer_holds_stops_them_all_and_names_the_winner(
    reach: Reach, repo: Repo, clone: Repo, up: Repo
) -> None:
    mine, theirs = reach(repo), reach(clone)
    one, two = commits(mine, 2)
    winner = theirs.repository.write_commit(
        theirs.repository.commit(theirs.tip("main") or "").tree,
        [theirs.tip("main") or ""],
        "p: 001 started\n\nGitflow-Event: attempt_started\nGitflow-Actor: bob <bob@example.com>",
    )
    theirs.move([(B, ZERO, winner)])
    with pytest.raises(LostRace) as lost:
        mine.move([(A, ZERO, one), (B, ZERO, two)])
    assert lost.value.message == (
        f"somebody was faster: gitflow/state/p is at {winner[:12]} on origin "
        "(p: 001 started, by bob)"
    )
    assert A not in engine.refs(up)
    assert mine.resolve(B) == winner


def test_an_answer_that_was_lost_is_a_move_that_was_made(
    reach: Reach, repo: Repo, server: Server
) -> None:
    refs = reach(repo)
    (one,) = commits(refs, 1)
    server.drops = 1
    refs.move([(B, ZERO, one)])
    assert (refs.resolve(B), server.drops) == (one, 0)


def test_a_push_that_did_not_arrive_is_made_again(reach: Reach, repo: Repo, server: Server) -> None:
    refs = reach(repo)
    (one,) = commits(refs, 1)
    came: list[bool] = []

    def hang_up_on_the_first() -> None:
        came.append(server.is_away)
        server.is_away = len(came) < 3  # git itself tries a second time

    server.before_push = hang_up_on_the_first
    looks = refs.refresh

    def look_when_it_is_back(*, force: bool = False) -> None:
        server.is_away = False
        looks(force=force)

    refs.refresh = look_when_it_is_back  # type: ignore[method-assign]
    refs.move([(B, ZERO, one)])
    assert (refs.resolve(B), len(came)) == (one, 3)


def test_what_the_server_refuses_is_told_in_its_words(reach: Reach, repo: Repo, up: Repo) -> None:
    refs = reach(repo)
    one, two = commits(refs, 2)
    hook(up, "update", '[ "$1" != refs/heads/flow/p ] || { echo flow is closed >&2; exit 1; }')
    with pytest.raises(RefRefused, match="origin refused the push of flow/p: flow is closed"):
        refs.move([(A, ZERO, one), (B, ZERO, two)])
    assert B not in engine.refs(up)
    hook(up, "pre-receive", "echo come back on Monday >&2; exit 1")
    with pytest.raises(RefRefused, match="origin refused the push: come back on Monday"):
        refs.move([(B, ZERO, two)])


def test_a_remote_that_cannot_be_reached_is_said_so_and_stays_as_it_was_known(
    reach: Reach, repo: Repo, up: Repo
) -> None:
    refs = reach(repo)
    (one,) = commits(refs, 1)
    refs.move([(B, ZERO, one)])
    up.path.rename(up.path.with_name("away"))
    with pytest.raises(Offline, match="origin, which decides on p, cannot be reached"):
        refs.move([(B, one, ZERO)])
    assert refs.resolve(B) == one


def test_what_is_gone_there_is_known_to_be_gone(reach: Reach, repo: Repo, up: Repo) -> None:
    refs = reach(repo)
    one, two = commits(refs, 2)
    refs.include("single")
    refs.move([(A, ZERO, one), (B, ZERO, two), ("refs/heads/single", ZERO, one)])
    for branch in ("flow/p", "single"):
        up.git("branch", "--quiet", "-D", branch)
    refs.refresh(force=True)
    assert refs.tips("refs/heads/") == {"refs/heads/main": repo.sha("main"), B: two}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "there is no remote origin"),
        (["https://a.example/x", "https://b.example/x"], "the remote origin has 2 addresses"),
    ],
)
def test_only_one_place_can_decide(reach: Reach, repo: Repo, words: list[str], said: str) -> None:
    for word in words:
        repo.git("config", "--add", "remote.origin.url", word)
    with pytest.raises(FlowError, match=said):
        reach(repo)


# --- a plan ---------------------------------------------------------------------------------------


def test_a_plan_runs_at_a_remote_and_no_local_branch_moves(repo: Repo, up: Repo) -> None:
    tried = "git push -q origin HEAD:refs/heads/mine && exit 1; echo 1 > a.txt"
    engine.plan(repo, task("a", tried), task("b", "cat a.txt > b.txt", depends_on=["a"]))
    before = repo.branches()
    run(repo, engine.FILE, "--remote", "origin")
    assert repo.branches() == before
    assert set(engine.audit(up).values()) == {"completed"}
    assert up.branches() == ["flow/p", "gitflow/state/p", "main", "plan/p"]
    assert engine.state(up)["authority"] == "origin"
    assert Cli(repo)("status", "p", "--json").json["authority"] == "origin"
    assert Cli(repo)("plans", "--json").json["plans"][0]["authority"] == "origin"
    assert Cli(repo)("fsck").stdout.endswith("nothing wrong\n")


def test_a_clone_whose_remote_has_the_plan_helps_without_being_told(
    repo: Repo, up: Repo, clone: Repo
) -> None:
    engine.plan(repo, task("a", "exit 3"), task("b", "echo b > b.txt"))
    run(repo, engine.FILE, "--remote", "origin", code=4)
    run(clone, "p", code=4)
    Cli(clone)("skip", "p/a", "--reason", "no")
    assert Cli(repo)("status", "p", "--json").json["counts"]["cancelled"] == 1
    run(repo, "p")
    assert engine.audit(up) == {"a": "cancelled", "b": "completed"}


def test_push_moves_the_authority_once(repo: Repo, up: Repo, clone: Repo) -> None:
    engine.plan(repo, task("a", "echo a > a.txt"), task("b", "exit 3", depends_on=["a"]))
    run(repo, engine.FILE, code=4)
    local = repo.branches()
    said = Cli(repo)("push", "p", "--dry-run").stdout
    assert said == "4 branches would go there, and origin decides on plan p from then on\n"
    assert up.branches() == ["main"]
    assert Cli(repo)("push", "p").stdout == (
        "origin decides on plan p from now on\nnext: gitflow-agents run p\n"
    )
    assert up.branches() == sorted({*local})
    assert Cli(repo)("push", "p", "--json").json["changed"] is False
    tips = engine.refs(repo)
    Cli(clone)("retry", "p/b", "--replace", "try true")
    run(clone, "p", code=4)
    run(repo, "p", code=4)
    assert engine.record(up, "b")["used"] == 2
    heads = {ref: sha for ref, sha in engine.refs(repo).items() if ref.startswith("refs/heads/")}
    assert heads == {ref: sha for ref, sha in tips.items() if ref.startswith("refs/heads/")}
    engine.audit(up)


def test_push_is_refused_where_anything_of_the_plan_is_there(repo: Repo, up: Repo) -> None:
    engine.plan(repo, task("a", "exit 3"))
    run(repo, engine.FILE, code=4)
    repo.git("push", "--quiet", "origin", "main:flow/p")
    before = engine.refs(repo)
    result = Cli(repo)("push", "p", check=False)
    assert result.exit_code == 1
    assert "origin has flow/p already: there it is at" in result.stderr
    assert engine.refs(up).keys() == {"refs/heads/main", "refs/heads/flow/p"}
    heads = {ref: sha for ref, sha in engine.refs(repo).items() if "refs/gitflow/" not in ref}
    assert heads == {**before, "refs/remotes/origin/flow/p": repo.sha("main")}


@pytest.mark.slow
def test_a_push_that_was_cut_off_is_finished_by_the_next_run(
    repo: Repo, up: Repo, server: Server
) -> None:
    engine.plan(repo, task("a", "echo a > a.txt; test -e go.txt"))
    run(repo, engine.FILE, code=4)
    server.before_push = lambda: setattr(server, "is_away", True)
    result = Cli(repo)("push", "p", check=False)
    assert (result.exit_code, up.branches()) == (75, ["main"])
    server.before_push, server.is_away = lambda: None, False
    run(repo, "p", code=4)
    assert engine.state(up)["authority"] == "origin"
    engine.audit(up)


def test_a_decision_on_an_old_state_is_refused_by_the_remote(
    reach: Reach, repo: Repo, clone: Repo
) -> None:
    engine.plan(repo, task("a", "exit 3"))
    run(repo, engine.FILE, "--remote", "origin", code=4)
    stores = [Store(refs.repository, refs) for refs in map(reach, (repo, clone))]
    drafts = [Draft(store.load("p"), name) for store, name in zip(stores, "xy", strict=True)]  # type: ignore[arg-type]
    for draft in drafts:
        draft.tell("work_kept", note="words")
    stores[0].commit(drafts[0])
    with pytest.raises(LostRace, match=r"gitflow/state/p is at .* on origin .*, by x"):
        stores[1].commit(drafts[1])


def test_the_config_says_where_plans_begin_and_a_variable_overrides_it(
    repo: Repo, up: Repo
) -> None:
    engine.config(repo, remote="nowhere")
    engine.plan(repo, task("a", "exit 3"))
    said = run(repo, engine.FILE, code=1)
    assert said.endswith("error: there is no remote nowhere\nhint: the remotes are: origin\n")
    result = Cli(repo)("run", engine.FILE, env={"GITFLOW_REMOTE": "origin"}, check=False)
    assert (result.exit_code, engine.state(up)["authority"]) == (4, "origin")


@pytest.mark.parametrize(
    ("first", "then", "said"),
    [
        ([], ["--remote", "origin"], "this repository decides on plan p, not origin"),
        (["--remote", "origin"], ["--remote", "other"], "origin decides on plan p, not other"),
    ],
)
def test_a_plan_that_has_begun_stays_where_it_is_decided(
    repo: Repo, up: Repo, first: list[str], then: list[str], said: str
) -> None:
    engine.plan(repo, task("a", "exit 3"))
    run(repo, engine.FILE, *first, code=4)
    assert said in run(repo, "p", *then, code=1)


def test_a_plan_begins_here_where_the_remote_cannot_be_asked(repo: Repo, up: Repo) -> None:
    up.path.rename(up.path.with_name("away"))
    engine.plan(repo, task("a", "echo > a.txt"))
    said = run(repo, engine.FILE)
    assert "whether origin has a plan p cannot be told, so it begins here: " in said
    assert engine.state(repo).get("authority", "local") == "local"


def test_branches_that_a_person_copied_to_a_remote_decide_nothing(
    repo: Repo, up: Repo, clone: Repo
) -> None:
    engine.plan(repo, task("a", "exit 3"))
    run(repo, engine.FILE, code=4)
    repo.git("push", "--quiet", "--all", "origin")
    assert "origin has only a copy of plan p" in run(clone, "p", code=1)
    run(repo, "p", code=4)
    assert "origin has" in Cli(repo)("push", "p", check=False).stderr


# --- the line is cut ------------------------------------------------------------------------------


def test_without_the_line_a_plan_can_be_looked_at_and_nothing_else(repo: Repo, up: Repo) -> None:
    engine.plan(repo, task("a", "exit 3"))
    run(repo, engine.FILE, "--remote", "origin", code=4)
    up.path.rename(up.path.with_name("away"))
    shown = Cli(repo)("status", "p")
    age = r"Authority  origin, as it was \d+\.\ds ago: it cannot be reached now"
    assert re.search(age, shown.stdout)
    assert shown.stderr.startswith("note: origin, which decides on p, cannot be reached: ")
    assert Cli(repo)("status", "p", "--json").json["as_of"] is not None
    for words in (("run", "p"), ("hold", "p"), ("retry", "p/a"), ("run", engine.FILE)):
        result = Cli(repo)(*words, check=False)
        assert (words, result.exit_code) == (words, 75)
        assert "origin, which decides on p, cannot be reached" in result.stderr


@pytest.mark.slow
def test_what_was_ready_when_the_line_went_is_delivered_by_the_next_run(
    repo: Repo, up: Repo, tmp_path: Path
) -> None:
    away = up.path.with_name("away")
    cut = f"mv '{up.path}' '{away}'; echo once >> '{tmp_path}/a'; echo > a"
    engine.plan(repo, task("a", cut))
    with engine.other(repo, "run", engine.FILE, "--remote", "origin") as other:
        engine.wait_for(lambda: any("/unsent/" in ref for ref in engine.refs(repo)))
        other.process.terminate()
        result = other.ends()
    assert result.exit_code == 130
    assert "what runs goes on, and this run tries again" in result.stdout
    away.rename(up.path)
    said = run(repo, "p")
    assert "a: the result of attempt 1, which waited for origin, is there" in said
    assert (tmp_path / "a").read_text() == "once\n"
    assert engine.audit(up) == {"a": "completed"}
    assert [ref for ref in engine.refs(repo) if "/unsent/" in ref] == []
    assert not (repo.path / ".worktrees").exists()


def test_a_run_that_waited_long_enough_ends_and_loses_nothing(repo: Repo, up: Repo) -> None:
    away = up.path.with_name("away")
    engine.plan(repo, task("a", f"mv '{up.path}' '{away}'; echo > a"))
    said = run(repo, engine.FILE, "--remote", "origin", code=75)
    assert "origin, which decides on p, cannot be reached" in said
    assert [ref for ref in engine.refs(repo) if "/unsent/" in ref] == ["refs/gitflow/unsent/p/a/1"]
    away.rename(up.path)
    assert engine.audit(up) == {"a": "in_progress"}


@pytest.mark.slow
def test_a_line_that_comes_back_is_used_by_the_run_that_waited(repo: Repo, up: Repo) -> None:
    away = up.path.with_name("away")
    engine.plan(repo, task("a", f"mv '{up.path}' '{away}'; echo a > a"), task("b", "echo b > b"))

    def mend(told: Told) -> None:
        if told.event == "run_waits" and away.exists():
            away.rename(up.path)

    played = engine.go(repo, remote="origin", on_event=mend)
    assert (played.code, engine.audit(up)) == (0, {"a": "completed", "b": "completed"})


def test_a_claim_of_which_nobody_knew_whether_it_was_made_is_taken_up_again(
    repo: Repo, up: Repo, server: Server
) -> None:
    engine.plan(repo, task("a", "echo > a.txt"))

    def cut_off_after_the_claim() -> None:
        if any(branch.startswith("task/") for branch in up.branches()):
            server.is_away, server.drops = True, 1
            server.after_push = lambda: None

    def mend(told: Told) -> None:
        if told.event == "run_waits":
            server.is_away = False

    server.after_push = cut_off_after_the_claim
    played = engine.go(repo, remote="origin", on_event=mend)
    assert (played.code, engine.audit(up)) == (0, {"a": "completed"})
    assert played.happened("run_waits", "attempt_expired", "attempt_started", "task_merged") == [
        "run_waits", "a", "a", "a",
    ]  # fmt: skip
    lost, done = engine.record(up, "a")["attempts"]
    assert (lost["reason"], done["outcome"]) == ("lease-lost", "succeeded")


# --- refused --------------------------------------------------------------------------------------


def test_of_claims_made_together_only_the_refused_one_fails(repo: Repo, up: Repo) -> None:
    hook(up, "update", 'case "$1" in */b-*) echo b is not wanted here >&2; exit 1;; esac')
    engine.plan(repo, *(task(each, f"echo > {each}.txt") for each in "abc"))
    run(repo, engine.FILE, "--remote", "origin", code=4)
    assert engine.audit(up) == {"a": "completed", "b": "failed", "c": "completed"}
    record = engine.record(up, "b")
    assert record["reason"] == "push-refused"
    assert "b is not wanted here" in record["message"]


def test_work_that_the_server_does_not_take_is_kept_here_and_told(repo: Repo, up: Repo) -> None:
    hook(
        up,
        "pre-receive",
        "while read old new ref; do case $new in 0000*) ;; *) "
        "git cat-file -e $new:secret 2>/dev/null && echo no secrets >&2 && exit 1;; esac; "
        "done; exit 0",
    )
    engine.plan(repo, task("a", "echo > secret"), task("b", "echo > b.txt"))
    run(repo, engine.FILE, "--remote", "origin", code=4)
    assert engine.audit(up) == {"a": "failed", "b": "completed"}
    record = engine.record(up, "a")
    assert (record["reason"], "no secrets" in record["message"]) == ("push-refused", True)
    assert "secret" in repo.tree("refs/gitflow/refused/p/a/1")


def test_a_push_that_outlives_its_run_leaves_no_worktree(
    repo: Repo, up: Repo, tmp_path: Path
) -> None:
    # The first push that tells of the end waits until another run wants to tell something else.
    hook(
        up,
        "pre-receive",
        """while read old new ref; do case $ref in refs/heads/gitflow/state/*)
        if git grep -q 'status: completed' $new -- tasks &&
            mkdir held 2>/dev/null; then
          echo $new > held/what
          until test -e held/go || test $((n += 1)) = 1500; do sleep 0.02; done
        elif test -d held; then
          touch held/go
          until test "$(git rev-parse $ref)" = "$(cat held/what)" ||
            test $((n += 1)) = 1500; do sleep 0.02; done
        fi;; esac; done""",
    )
    save = 'mkdir "$S" && cp -a . "$S/tree" && cp -a "$(git rev-parse --git-dir)" "$S/admin"'
    engine.plan(repo, task("1", f"S={tmp_path}/saved; {save}; echo > a.txt"))
    with engine.other(repo, "run", engine.FILE, "--remote", "origin") as first:
        engine.wait_for((up.path / "held" / "what").exists)
        first.dies()
    # The worktree goes while that push is on its way; here the kill came before.
    shutil.copytree(tmp_path / "saved" / "tree", repo.path / ".worktrees" / "p" / "1")
    shutil.copytree(tmp_path / "saved" / "admin", repo.path / ".git" / "worktrees" / "gitflow-p+1")
    run(repo, "p", code=0)
    assert engine.audit(up) == {"1": "completed"}
    assert not (repo.path / ".worktrees").exists()


@pytest.mark.slow
def test_a_merge_that_the_server_does_not_take_fails_its_task(repo: Repo, up: Repo) -> None:
    hook(
        up,
        "update",
        'case "$1" in refs/heads/flow/*) git cat-file -e $3:b.txt 2>/dev/null && '
        "echo not on flow >&2 && exit 1;; esac; exit 0",
    )
    engine.plan(repo, task("a", "echo > a.txt"), task("b", "echo > b.txt"), gate=["true"])
    run(repo, engine.FILE, "--remote", "origin", code=4)
    assert engine.audit(up) == {"a": "completed", "b": "failed"}
    record = engine.record(up, "b")
    assert (record["reason"], "not on flow" in record["message"]) == ("push-refused", True)


# --- people ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_people_push_counts_as_what_they_commit(repo: Repo, up: Repo, clone: Repo) -> None:
    engine.plan(repo, task("a", "echo a > a.txt"))
    run(repo, engine.FILE, "--remote", "origin")
    clone.identify("bob", "bob@example.com")
    clone.git("fetch", "--quiet")
    clone.git("switch", "--quiet", "flow/p")
    clone.write("mine.txt", "mine\n")
    clone.commit("by hand")
    clone.git("push", "--quiet")
    clone.git("switch", "--quiet", "plan/p")
    tasks = (task("a", "echo a > a.txt"), task("b", "cat mine.txt > b.txt"), task("c", "exit 3"))
    engine.plan(clone, *tasks)
    clone.commit("one more")
    clone.git("push", "--quiet")
    run(repo, "p", code=4)
    assert engine.audit(up) == {"a": "completed", "b": "completed", "c": "failed"}
    up.git("update-ref", "refs/heads/flow/p", "main")
    run(repo, "p", code=4)
    assert "flow" in engine.state(up)["held"]


@pytest.mark.slow
def test_a_person_does_a_task_in_their_clone_and_its_branch_at_the_remote_counts(
    repo: Repo, up: Repo, clone: Repo
) -> None:
    engine.plan(repo, task("a", "exit 3"))
    run(repo, engine.FILE, "--remote", "origin", code=4)
    clone.identify("bob", "bob@example.com")
    said = Cli(clone)("take", "p/a").stdout
    assert "git fetch origin && git switch task/p/a-task-a" in said
    clone.git("fetch", "--quiet")
    clone.git("switch", "--quiet", "task/p/a-task-a")
    clone.write("a.txt", "by hand\n")
    clone.commit("by hand")
    refused = Cli(clone)("submit", "p/a", check=False)
    assert refused.stderr == (
        "error: your branch task/p/a-task-a has commits that origin has not got\n"
        "hint: git push origin task/p/a-task-a\n"
    )
    clone.git("push", "--quiet", "origin", "task/p/a-task-a")
    Cli(clone)("submit", "p/a")
    run(repo, "p")
    assert engine.audit(up) == {"a": "completed"}
    assert up.show("flow/p", "a.txt") == "by hand\n"


@pytest.mark.parametrize("ended_by", ["deleted", pytest.param("stopped", marks=pytest.mark.slow)])
def test_a_late_result_goes_beside_the_branch_and_says_so(
    reach: Reach, repo: Repo, up: Repo, clone: Repo, tmp_path: Path, ended_by: str
) -> None:
    go = tmp_path / "go"
    wait = engine.until(f"[ -e '{go}' ]")
    engine.plan(repo, task("a", f"echo late > a.txt; {wait}"))
    with engine.other(repo, "run", engine.FILE, "--remote", "origin") as other:
        engine.wait_for(lambda: (repo.path / ".worktrees/p/a/a.txt").exists())
        refs = reach(clone)
        ((ref, claim),) = refs.tips("refs/heads/task/p/").items()
        if ended_by == "deleted":
            refs.move([(ref, claim, ZERO)])
        else:
            fence = refs.repository.write_commit(refs.repository.commit(claim).tree, [claim], "no")
            refs.move([(ref, claim, fence)])
        go.touch()
        result = other.ends()
    assert "a: its result was not taken: somebody was faster: task/p/a-task-a" in result.stdout
    assert up.show("gitflow/attempt/p/a/1", "a.txt") == "late\n"
    assert engine.audit(up) == {"a": "failed"}


@pytest.mark.slow
def test_a_person_at_another_clone_stops_an_attempt_and_its_work_is_kept(
    repo: Repo, up: Repo, clone: Repo
) -> None:
    engine.plan(repo, task("a", "echo partial > a.txt; sleep 60"))
    with engine.other(repo, "run", engine.FILE, "--remote", "origin") as other:
        engine.wait_for(lambda: (repo.path / ".worktrees/p/a/a.txt").exists())
        repos.tool(clone, "stop", "p/a")
        assert other.ends().exit_code == 0
    assert engine.audit(up) == {"a": "cancelled"}
    kept = [ref for ref in up.branches() if ref.startswith("gitflow/attempt/")]
    assert [up.show(ref, "a.txt") for ref in kept] == ["partial\n"]
    assert not (repo.path / ".worktrees").exists()


@pytest.mark.slow
def test_the_persons_credentials_are_used_and_agents_have_none(
    repo: Repo, up: Repo, home: Path
) -> None:
    with serve(up.path.parent, token="s3cret") as server:
        repo.git("remote", "set-url", "origin", server.url(up).replace("127.0.0.1", "git.example"))
        helper = "!f() { echo username=alice; echo password=s3cret; }; f"
        (home / ".gitconfig").write_text(
            f'[url "http://127.0.0.1:{server.port}/"]\n'
            f"insteadOf = http://git.example:{server.port}/\n"
            f'[credential]\nhelper = "{helper}"\n'
        )
        engine.plan(
            repo,
            task("a", f"git push {server.url(up)} HEAD:refs/heads/mine && exit 1; echo a > a.txt"),
        )
        run(repo, engine.FILE, "--remote", "origin")
    assert engine.audit(up) == {"a": "completed"}
    assert "mine" not in up.branches()


def test_no_hook_of_the_person_stands_in_the_way_of_a_push(
    reach: Reach, repo: Repo, up: Repo
) -> None:
    hooks = repo.path / ".git/hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("pre-push", "reference-transaction"):
        (hooks / name).write_text("#!/bin/sh\nexit 1\n")
        os.chmod(hooks / name, 0o755)
    refs = reach(repo)
    (one,) = commits(refs, 1)
    refs.move([(B, ZERO, one)])
    assert refs.resolve(B) == one
