"""The user's checkout is never touched, whatever state it is in and whatever the user has set up.

Each test compares the whole of what is the user's before and after; the work itself must come out
right as well, or leaving everything alone would be easy.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from gitflow_agents.errors import FlowError
from gitflow_agents.service import Told
from gitflow_agents.store import Repository, Worktrees
from tests import engine, repos
from tests.engine import task
from tests.repos import Cli, Repo
from tests.theirs import untouched

FLOW = "flow/p"
ADDED = ["plans/p.provides.yaml", "plans/p.report.md", "plans/p.yaml"]
"""What a finished plan puts on its flow branch beside its tasks' work."""


def small_plan(repo: Repo, **keys: Any) -> None:
    """Write a plan of two tasks, the second on top of the first; its branch is named."""
    engine.plan(
        repo,
        task("1", "echo one > one.txt", provides=["one"], verify=["grep one one.txt"]),
        task("2", "cat one.txt one.txt > two.txt", preconditions=["one"]),
        **{"base": "main", **keys},
    )


def finished(repo: Repo, played: engine.Played, *others: str) -> None:
    """Hold that the small plan is finished and flow holds its work on top of `others`."""
    engine.finished(repo, played)
    assert repo.tree(FLOW) == sorted([*others, "one.txt", "two.txt", *ADDED])
    assert repo.show(FLOW, "two.txt") == "one\none\n"


# --- states of a checkout -------------------------------------------------------------------------


def a_clean_checkout(repo: Repo) -> None:
    pass


def dirty_files(repo: Repo) -> None:
    repo.write("kept.sh", "true\n")
    repo.write("gone.txt", "gone\n")
    repo.commit("more files")
    repo.write("README.md", "changed and not staged\n")
    repo.write("one.txt", "an untracked file where a task writes one\n")
    repo.write("folder/untracked", "also untracked\n")
    (repo.path / "kept.sh").chmod(0o755)
    (repo.path / "gone.txt").unlink()
    (repo.path / "dangling").symlink_to("nowhere")


def ignored_files(repo: Repo) -> None:
    repo.write(".gitignore", "*.log\nbuild/\n")
    repo.commit("ignore some")
    repo.write("a.log", "ignored\n")
    repo.write("build/out.o", "ignored\n")
    repo.write(".git/info/exclude", "private/")  # without a newline at its end
    repo.write("private/notes", "ignored here only\n")


def staged_changes(repo: Repo) -> None:
    repo.write("README.md", "staged\n")
    repo.write("new.txt", "staged\n")
    repo.git("add", "README.md", "new.txt")
    repo.write("README.md", "and changed again\n")
    repo.write("later.txt", "meant to be added\n")
    repo.git("add", "--intent-to-add", "later.txt")


def flags_in_the_index(repo: Repo) -> None:
    repo.write("local.cfg", "a\n")
    repo.commit("a file")
    repo.git("update-index", "--assume-unchanged", "README.md")
    repo.git("update-index", "--skip-worktree", "local.cfg")
    repo.write("local.cfg", "b\n")


def an_index_of_another_form(repo: Repo) -> None:
    repo.git("update-index", "--index-version", "4", "--split-index", "--untracked-cache")


def stashes(repo: Repo) -> None:
    for text in ("first", "second"):
        repo.write("README.md", f"{text}\n")
        repo.write("untracked.txt", f"{text}\n")
        repo.git("stash", "push", "--quiet", "--include-untracked", "--message", text)


def a_detached_head(repo: Repo) -> None:
    repo.commit("one more")
    repo.git("switch", "--quiet", "--detach", "HEAD~1")


def an_unborn_branch(repo: Repo) -> None:
    repo.git("switch", "--quiet", "--orphan", "fresh")
    repo.write("draft.txt", "not committed yet\n")


def another_branch(repo: Repo) -> None:
    repo.git("switch", "--quiet", "--create", "topic")
    repo.write("topic.txt", "topic\n")
    repo.commit("on the topic")


def two_sides(repo: Repo) -> None:
    """Let the branch `side` and the one that is checked out change one line in two ways."""
    repo.git("switch", "--quiet", "--create", "side")
    repo.write("README.md", "theirs\n")
    repo.commit("theirs")
    repo.git("switch", "--quiet", "--create", "mine", "main")
    repo.write("README.md", "mine\n")
    repo.commit("mine")


def a_merge_in_conflict(repo: Repo) -> None:
    two_sides(repo)
    repo.git("merge", "side", check=False)
    assert (repo.path / ".git/MERGE_HEAD").exists()


def a_rebase_half_done(repo: Repo) -> None:
    two_sides(repo)
    repo.git("rebase", "side", check=False)
    assert (repo.path / ".git/rebase-merge").exists()


def a_cherry_pick_half_done(repo: Repo) -> None:
    two_sides(repo)
    repo.git("cherry-pick", "side", check=False)
    assert (repo.path / ".git/CHERRY_PICK_HEAD").exists()


def a_bisection(repo: Repo) -> None:
    for number in range(4):
        repo.commit(f"commit {number}")
    repo.git("bisect", "start", "HEAD", "HEAD~4")
    assert (repo.path / ".git/BISECT_LOG").exists()


def a_branch_with_a_name_from_long_ago(repo: Repo) -> None:
    repo.git("switch", "--quiet", "--create", os.fsdecode(b"caf\xe9"))


def packed_refs(repo: Repo) -> None:
    repo.git("tag", "--annotate", "--message", "a tag", "v1")
    repo.git("branch", "other")
    repo.git("gc", "--quiet")
    assert not (repo.path / ".git/refs/heads/main").exists()


def notes_and_replacements(repo: Repo) -> None:
    repo.git("notes", "add", "--message", "a note", "HEAD")
    first = repo.sha()
    second = repo.commit("second")
    repo.git("replace", second, first)


def a_sparse_checkout(repo: Repo) -> None:
    repo.write("wanted/file", "here\n")
    repo.write("unwanted/file", "not here\n")
    repo.commit("two folders")
    repo.git("sparse-checkout", "set", "wanted")
    assert not (repo.path / "unwanted").exists()


def a_sparse_checkout_of_the_old_kind(repo: Repo) -> None:
    repo.write("wanted/file", "here\n")
    repo.write("unwanted/file", "not here\n")
    repo.commit("two folders")
    repo.git("config", "core.sparseCheckout", "true")
    repo.write(".git/info/sparse-checkout", "/wanted/\n")
    repo.git("read-tree", "--reset", "-u", "HEAD")
    assert not (repo.path / "unwanted").exists()


def linked_worktrees_beside(repo: Repo) -> None:
    """One outside, one locked in the folder that the tool uses too, one whose disk is not there."""
    repo.write(".git/info/exclude", ".worktrees\n")
    repo.worktree(repo.path.parent / "a linked one")
    mine = repo.worktree(repo.path / ".worktrees/mine")
    mine.write("draft.txt", "in a worktree of my own\n")
    repo.git("worktree", "lock", "--reason", "mine", str(mine.path))
    away = repo.worktree(repo.path.parent / "unplugged")
    away.path.rename(repo.path.parent / "taken away")


def submodules(repo: Repo) -> None:
    library = repos.init(repo.path.parent / "library")
    library.write("lib.c", "int x;\n")
    library.commit("a library")
    repo.git("config", "protocol.file.allow", "always")
    allow = ("-c", "protocol.file.allow=always")
    for name in ("lib", "unused"):
        repo.git(*allow, "submodule", "--quiet", "add", str(library.path), name)
    repo.commit("two submodules")
    repo.git("submodule", "--quiet", "deinit", "--force", "unused")
    repo.git("config", "submodule.recurse", "true")
    Repo(repo.path / "lib").write("lib.c", "int changed;\n")


STATES = [
    a_clean_checkout,
    dirty_files,
    ignored_files,
    staged_changes,
    flags_in_the_index,
    an_index_of_another_form,
    stashes,
    a_detached_head,
    an_unborn_branch,
    another_branch,
    a_merge_in_conflict,
    a_rebase_half_done,
    a_cherry_pick_half_done,
    a_bisection,
    a_branch_with_a_name_from_long_ago,
    packed_refs,
    notes_and_replacements,
    a_sparse_checkout,
    a_sparse_checkout_of_the_old_kind,
    linked_worktrees_beside,
    submodules,
]


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_a_run_leaves_a_checkout_as_it_is(repo: Repo, state: Callable[[Repo], None]) -> None:
    state(repo)
    on_base = repo.tree("main")
    small_plan(repo)
    with untouched(repo):
        played = engine.go(repo)
    assert (played.code, played.message.partition(":")[0]) == (0, "the plan is finished")
    assert set(engine.audit(repo).values()) == {"completed"}
    assert repo.tree(FLOW) == sorted([*on_base, "one.txt", "two.txt", *ADDED])


def test_a_run_makes_nothing_in_the_folder_it_was_started_from(repo: Repo) -> None:
    repo.write("src/deep/x.c", "int x;\n")
    repo.commit("a folder")
    small_plan(repo)
    below = Repo(repo.path / "src/deep")
    with untouched(repo):
        played = engine.go(below, "../../plans/p.yaml")
    finished(repo, played, "README.md", "src/deep/x.c")
    with untouched(repo):
        assert engine.go(below, "p").code == 0


def test_worktrees_are_hidden_while_they_are_there_and_gone_afterwards(
    repo: Repo, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    look = f"git -C '{repo.path}' --no-optional-locks status --porcelain >> '{seen}'"
    engine.plan(repo, task("1", f"pwd > '{tmp_path}/where'; {look}; echo > a.txt"))
    repo.commit("the plan")
    with untouched(repo):
        engine.finished(repo, engine.go(repo))
    assert (tmp_path / "where").read_text() == f"{repo.path}/.worktrees/p/1\n"
    assert seen.read_text() == ""
    assert (repo.path / ".git/info/exclude").read_text() == "/.worktrees/\n"
    assert repo.git("worktree", "list", "--porcelain").count("worktree ") == 1


def test_worktrees_may_be_in_another_folder(repo: Repo, tmp_path: Path) -> None:
    engine.config(repo, worktrees="build/trees")
    engine.plan(repo, task("1", f"pwd > '{tmp_path}/where'; echo > a.txt"))
    repo.write(".git/info/exclude", "/build/trees/\n")
    with untouched(repo):
        engine.finished(repo, engine.go(repo))
    assert (tmp_path / "where").read_text() == f"{repo.path}/build/trees/p/1\n"
    assert (repo.path / ".git/info/exclude").read_text() == "/build/trees/\n"
    assert not (repo.path / "build").exists()


def test_copied_files_are_read_from_the_checkout_and_never_committed(
    repo: Repo, tmp_path: Path
) -> None:
    repo.write(".env", "TOKEN=1\n")
    repo.write("certs/a b/key", "key\n")
    engine.plan(
        repo,
        task("1", f"cat .env 'certs/a b/key' > '{tmp_path}/read'; echo 2 >> .env; echo > a.txt"),
        copy=[".env", "certs"],
    )
    with untouched(repo):
        engine.finished(repo, engine.go(repo))
    assert (tmp_path / "read").read_text() == "TOKEN=1\nkey\n"
    assert repo.tree(FLOW) == sorted(["README.md", "a.txt", *ADDED])


def test_a_task_sees_all_files_of_a_sparse_checkout(repo: Repo) -> None:
    a_sparse_checkout(repo)
    engine.plan(repo, task("1", "cat unwanted/file > a.txt"))
    with untouched(repo):
        engine.finished(repo, engine.go(repo))
    assert repo.show(FLOW, "a.txt") == "not here\n"
    assert repo.git("sparse-checkout", "list") == "wanted"


def test_submodules_stay_where_they_are(repo: Repo) -> None:
    submodules(repo)
    small_plan(repo)
    before = repo.git("ls-tree", "-r", "main", "lib", "unused")
    library = Repo(repo.path / "lib")
    with untouched(repo, library):
        played = engine.go(repo)
    finished(repo, played, ".gitmodules", "README.md", "lib", "unused")
    assert repo.git("ls-tree", "-r", FLOW, "lib", "unused") == before
    assert before.count("160000 commit") == 2


# --- more than one checkout -----------------------------------------------------------------------


def test_a_run_starts_in_a_linked_worktree_from_the_branch_it_is_on(
    repo: Repo, tmp_path: Path
) -> None:
    linked = repo.worktree(tmp_path / "a linked one")
    linked.git("switch", "--quiet", "--create", "topic")
    linked.write("topic.txt", "topic\n")
    linked.commit("on the topic")
    linked.write("topic.txt", "changed\n")
    repo.write("README.md", "changed too\n")
    small_plan(linked, base=None)
    with untouched(repo, linked):
        played = engine.go(linked)
    finished(linked, played, "README.md", "topic.txt")
    assert engine.state(repo)["base"] == "topic"
    assert not (repo.path / ".worktrees").exists()


def test_a_linked_worktree_of_a_bare_repository_is_enough(repo: Repo, tmp_path: Path) -> None:
    bare = repo.clone(tmp_path / "bare.git", bare=True)
    linked = Repo(tmp_path / "checkout")
    bare.git("worktree", "add", "--quiet", str(linked.path), "main")
    linked.write("README.md", "changed\n")
    small_plan(linked)
    with untouched(linked, bare):
        played = engine.go(linked)
    finished(linked, played, "README.md")


def test_a_checkout_with_its_git_directory_elsewhere_is_an_ordinary_one(
    repo: Repo, tmp_path: Path
) -> None:
    repo.git("init", "--quiet", "--separate-git-dir", str(tmp_path / "elsewhere.git"))
    repo.write(".env", "TOKEN=1\n")
    engine.plan(repo, task("1", f"pwd > '{tmp_path}/where'; cp .env a.txt"), copy=[".env"])
    with untouched(repo):
        engine.finished(repo, engine.go(repo))
    assert (tmp_path / "where").read_text() == f"{repo.path}/.worktrees/p/1\n"
    assert repo.show(FLOW, "a.txt") == "TOKEN=1\n"


def test_a_plan_may_run_in_a_submodule(repo: Repo) -> None:
    submodules(repo)
    library = Repo(repo.path / "lib")
    library.write(".env", "TOKEN=1\n")
    small_plan(library, copy=[".env"])
    with untouched(repo, library):
        played = engine.go(library)
    finished(library, played, "lib.c")


def test_a_worktree_is_made_while_others_take_the_folders_above_with_them(repo: Repo) -> None:
    repository = Repository(repo.path)
    worktrees = Worktrees(repository, ".worktrees")
    over = threading.Event()

    def tidy() -> None:
        while not over.is_set():
            for folder in (worktrees.root / "p", worktrees.root):
                with suppress(OSError):
                    folder.rmdir()

    tidier = threading.Thread(target=tidy)
    tidier.start()
    try:
        for _ in range(30):
            worktree = worktrees.add("p", "1", repo.sha())
            assert (worktree.path / "README.md").exists()
            worktrees.remove(worktree)
    finally:
        over.set()
        tidier.join()
        repository.close()


# --- hooks ----------------------------------------------------------------------------------------

HOOKS = """
    applypatch-msg pre-applypatch post-applypatch pre-commit pre-merge-commit prepare-commit-msg
    commit-msg post-commit pre-rebase post-checkout post-merge pre-push pre-receive update
    proc-receive post-receive post-update reference-transaction push-to-checkout pre-auto-gc
    post-rewrite fsmonitor-watchman post-index-change
""".split()


def hooks(folder: Path, said: Path, *, code: int = 0) -> None:
    """Make every hook that git knows; each says its name and the task that it runs in."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in HOOKS:
        hook = folder / name
        hook.write_text(
            f'#!/bin/sh\necho "{name} ${{GITFLOW_TASK-nobody}}" >> "{said}"\nexit {code}\n'
        )
        hook.chmod(0o755)


def in_the_git_directory(repo: Repo, said: Path) -> None:
    hooks(repo.path / ".git/hooks", said)


def where_the_repository_says(repo: Repo, said: Path) -> None:
    hooks(repo.path.parent / "team hooks", said)
    repo.git("config", "core.hooksPath", str(repo.path.parent / "team hooks"))


def where_the_user_says(repo: Repo, said: Path) -> None:
    hooks(repo.path.parent / "my hooks", said)
    repo.git("config", "--global", "core.hooksPath", str(repo.path.parent / "my hooks"))


def in_the_tree(repo: Repo, said: Path) -> None:
    hooks(repo.path / ".husky", said)
    repo.commit("hooks")
    repo.git("config", "core.hooksPath", ".husky")


PLACES = [in_the_git_directory, where_the_repository_says, where_the_user_says, in_the_tree]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_the_tool_runs_no_hook_of_the_user(
    repo: Repo, tmp_path: Path, place: Callable[[Repo, Path], None]
) -> None:
    place(repo, tmp_path / "said")
    small_plan(repo, gate=["test -e one.txt"])
    (tmp_path / "said").unlink(missing_ok=True)
    with untouched(repo):
        engine.go(repo)
        Cli(repo)("status", "p")
        Cli(repo)("diff", "p/1")
    assert engine.state(repo)["status"] == "finished"
    assert not (tmp_path / "said").exists()


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_an_agents_own_commit_runs_the_users_hooks_in_its_worktree(
    repo: Repo, tmp_path: Path, place: Callable[[Repo, Path], None]
) -> None:
    place(repo, tmp_path / "said")
    engine.plan(
        repo,
        task("1", "echo a > a.txt; git add a.txt; git commit -q -m 'by hand'; echo b > b.txt"),
        task("2", "echo c > c.txt"),
    )
    (tmp_path / "said").unlink(missing_ok=True)
    with untouched(repo):
        engine.finished(repo, engine.go(repo))
    lines = {tuple(line.split(" ")) for line in (tmp_path / "said").read_text().splitlines()}
    assert {task for _, task in lines} == {"1"}
    ran = {"pre-commit", "commit-msg", "post-commit", "reference-transaction", "post-index-change"}
    assert {hook for hook, _ in lines} >= ran
    assert {"a.txt", "b.txt", "c.txt"} <= set(repo.tree(FLOW))


def test_a_hook_that_refuses_everything_refuses_the_agents_commit_only(
    repo: Repo, tmp_path: Path
) -> None:
    hooks(repo.path / ".git/hooks", tmp_path / "said", code=1)
    engine.plan(
        repo,
        task("1", "echo a > a.txt; git add a.txt; git commit -q -m 'by hand' && exit 9; true"),
    )
    with untouched(repo):
        engine.finished(repo, engine.go(repo))
    assert repo.show(FLOW, "a.txt") == "a\n"
    assert "by hand" not in repo.log(FLOW)


# --- what the user has set up ---------------------------------------------------------------------


@pytest.mark.parametrize("place", ["--local", "--global"])
def test_no_program_that_the_settings_name_is_started_by_the_tool(
    repo: Repo, tmp_path: Path, place: str
) -> None:
    trap = tmp_path / "trap"
    trap.write_text(f'#!/bin/sh\necho "$*" >> "{tmp_path}/caught"\nexit 1\n')
    trap.chmod(0o755)
    repo.write("shared.txt", "1\n2\n3\n4\n5\n6\n7\n8\n9\n")
    repo.commit("a file")
    for key in (
        *("core.fsmonitor", "core.pager", "pager.diff", "core.editor", "core.askPass"),
        *("core.sshCommand", "core.gitProxy", "gpg.program", "gpg.ssh.program", "diff.external"),
        *("diff.trap.command", "diff.trap.textconv", "filter.trap.clean", "filter.trap.smudge"),
        *("merge.trap.driver", "credential.helper", "sequence.editor", "interactive.diffFilter"),
    ):
        repo.git("config", place, key, str(trap))
    for key in ("commit.gpgSign", "tag.gpgSign", "filter.trap.required"):
        repo.git("config", place, key, "true")
    repo.write(".gitattributes", "* merge=trap diff=trap filter=trap\n")
    engine.plan(
        repo,
        task("1", "sed -i s/1/one/ shared.txt"),
        task("2", "sed -i s/9/nine/ shared.txt"),
        gate=["test -e shared.txt"],
    )
    (tmp_path / "caught").unlink(missing_ok=True)
    played = engine.go(repo)
    Cli(repo)("diff", "p/1")
    assert not (tmp_path / "caught").exists()
    trap.write_text("#!/bin/sh\n")  # for the gits of this test
    engine.finished(repo, played)
    assert repo.show(FLOW, "shared.txt") == "one\n2\n3\n4\n5\n6\n7\n8\nnine\n"


def untracked_attributes(repo: Repo) -> None:
    repo.write(".gitattributes", "shared.txt merge=mine\n")


def staged_attributes(repo: Repo) -> None:
    untracked_attributes(repo)
    repo.git("add", ".gitattributes")


def attributes_of_the_user(repo: Repo) -> None:
    repo.write("../home/.config/git/attributes", "shared.txt merge=mine\n")


def a_driver_of_the_user(repo: Repo) -> None:
    untracked_attributes(repo)
    repo.commit("attributes for which everybody has a driver of their own")
    repo.git("config", "--local", "--unset", "merge.mine.driver")


@pytest.mark.parametrize(
    "setup",
    [untracked_attributes, staged_attributes, attributes_of_the_user, a_driver_of_the_user],
    ids=lambda setup: setup.__name__,
)
def test_a_merge_does_not_depend_on_what_is_not_in_the_repository(
    repo: Repo, setup: Callable[[Repo], None]
) -> None:
    repo.write("shared.txt", "start\n")
    repo.commit("a file")
    for place in ("--local", "--global"):
        repo.git("config", place, "merge.mine.driver", "true")  # takes ours, whatever theirs says
    setup(repo)
    engine.plan(
        repo,
        task("1", "echo one > shared.txt", conflict_retries=0),
        task("2", "echo two > shared.txt", conflict_retries=0),
    )
    with untouched(repo):
        played = engine.go(repo)
    assert played.code == 4
    first, second = engine.record(repo, "1"), engine.record(repo, "2")
    merged, refused = (first, second) if "merge" in first else (second, first)
    assert repo.show(FLOW, "shared.txt") == {"1": "one\n", "2": "two\n"}[merged["id"]]
    assert (refused["status"], refused["reason"]) == ("failed", "conflict")


def test_files_pass_the_users_filters_in_a_worktree_and_are_stored_clean(repo: Repo) -> None:
    turn = "tr 'A-Za-z' 'N-ZA-Mn-za-m'"
    for key, value in {"clean": turn, "smudge": turn, "required": "true"}.items():
        repo.git("config", "--global", f"filter.turned.{key}", value)
    repo.write(".gitattributes", "*.bin filter=turned\n")
    repo.write("big.bin", "hello\n")
    repo.write("other.bin", "other\n")
    repo.commit("two filtered files")
    assert repo.show("main", "big.bin") == "uryyb\n"
    engine.plan(
        repo,
        task(
            "1",
            "grep -qx hello big.bin && echo more >> big.bin && echo new > new.bin",
            verify=["grep -qx more big.bin"],
        ),
        gate=["grep -qx hello big.bin"],
    )
    with untouched(repo):
        engine.finished(repo, engine.go(repo))
    assert repo.show(FLOW, "big.bin") == "uryyb\nzber\n"
    assert repo.show(FLOW, "new.bin") == "arj\n"
    changed = ["big.bin", "new.bin", *ADDED]
    assert repo.git("diff", "--name-only", "main", FLOW).split("\n") == changed


def test_line_endings_are_stored_as_the_user_wants_and_others_stay(repo: Repo) -> None:
    repo.write("dos.txt", "one\r\ntwo\r\n")
    repo.write("other.txt", "one\r\ntwo\r\n")
    repo.commit("two files of another system")
    repo.git("config", "--global", "core.autocrlf", "input")
    repo.git("config", "--global", "core.safecrlf", "true")
    engine.plan(repo, task("1", r"printf 'a\r\nb\r\n' > new.txt; printf 'three\r\n' >> dos.txt"))
    with untouched(repo):
        engine.finished(repo, engine.go(repo))
    assert repo.show(FLOW, "new.txt") == "a\nb\n"
    assert repo.show(FLOW, "dos.txt") == "one\r\ntwo\r\nthree\r\n"
    assert repo.show(FLOW, "other.txt") == "one\r\ntwo\r\n"


# --- the flow branch ------------------------------------------------------------------------------


def test_a_run_stops_before_it_starts_where_flow_is_checked_out(repo: Repo) -> None:
    engine.plan(repo, task("1", "echo > a.txt"), task("2", "test -e fixed && echo > b.txt"))
    assert engine.go(repo).code == 4
    (repo.path / engine.FILE).unlink()  # it is on flow too
    repo.git("switch", "--quiet", FLOW)
    with untouched(repo, made=()), pytest.raises(FlowError) as error:
        engine.go(repo, "p")
    assert error.value.message == f"the flow branch {FLOW} is checked out in {repo.path}"
    assert error.value.hint == "git switch --detach"


def test_a_run_stops_where_a_linked_worktree_has_flow_checked_out(
    repo: Repo, tmp_path: Path
) -> None:
    engine.plan(repo, task("1", "echo > a.txt"), task("2", "test -e fixed && echo > b.txt"))
    assert engine.go(repo).code == 4
    linked = Repo(tmp_path / "linked")
    repo.git("worktree", "add", "--quiet", str(linked.path), FLOW)
    with untouched(repo, linked, made=()), pytest.raises(FlowError) as error:
        engine.go(repo, "p")
    assert error.value.message == f"the flow branch {FLOW} is checked out in {linked.path}"
    assert error.value.hint == "git switch --detach"


def test_a_first_run_makes_nothing_where_the_flow_branch_is_about_to_be_born(repo: Repo) -> None:
    repo.git("switch", "--quiet", "--orphan", FLOW)
    small_plan(repo)
    with untouched(repo, made=()), pytest.raises(FlowError) as error:
        engine.go(repo)
    assert error.value.message == f"the flow branch {FLOW} is checked out in {repo.path}"
    assert error.value.hint == "git switch --detach"


def test_flow_that_is_checked_out_in_the_middle_of_a_run_is_not_moved_any_more(
    repo: Repo,
) -> None:
    small_plan(repo)
    held = ExitStack()

    def switch(told: Told) -> None:
        if told.event == "task_merged":
            (repo.path / engine.FILE).unlink()  # it is on flow too
            repo.git("switch", "--quiet", FLOW)
            held.enter_context(untouched(repo, made=("plan/", "task/", "gitflow/")))

    with held:
        played = engine.go(repo, on_event=switch)
    assert (played.code, played.message) == (
        4,
        f"{FLOW} is checked out in {repo.path}, so nothing is merged",
    )
    assert played.hint == f"git -C '{repo.path}' switch --detach, then run it again"
    assert set(repo.tree(FLOW)) == {"README.md", "one.txt", "plans/p.yaml"}
    repo.git("switch", "--quiet", "--detach")
    with untouched(repo):
        again = engine.go(repo, "p")
    finished(repo, again, "README.md")


def test_a_merged_branch_that_somebody_looks_at_stays_until_they_do_not(
    repo: Repo, tmp_path: Path
) -> None:
    branch = "task/p/1-task-1"
    linked = Repo(tmp_path / "linked")
    engine.plan(repo, task("1", "echo > a.txt"), gate=["true"])

    def look(told: Told) -> None:
        if told.event == "train_started":
            repo.git("worktree", "add", "--quiet", str(linked.path), branch)
            watched.enter_context(untouched(linked, made=("plan/", "flow/", "gitflow/")))

    with ExitStack() as watched:
        played = engine.go(repo, on_event=look)
    assert (played.code, played.message.partition(":")[0]) == (0, "the plan is finished")
    assert set(repo.tree(FLOW)) == {"README.md", "a.txt", *ADDED}
    assert linked.git("symbolic-ref", "HEAD") == f"refs/heads/{branch}"
    linked.git("switch", "--quiet", "--detach")
    engine.finished(repo, engine.go(repo, "p"))


def test_a_task_branch_that_somebody_checked_out_is_not_moved_and_its_result_is_kept(
    repo: Repo, tmp_path: Path
) -> None:
    branch = "task/p/1-task-1"
    linked = Repo(tmp_path / "linked")
    here = tmp_path / "here"
    engine.plan(repo, task("1", engine.until(f"test -e '{here}'") + "echo one > a.txt"))

    def look(told: Told) -> None:
        if told.event == "attempt_started":
            repo.git("worktree", "add", "--quiet", str(linked.path), branch)
            watched.enter_context(untouched(linked, made=("plan/", "flow/", "gitflow/")))
            here.touch()

    with ExitStack() as watched:
        played = engine.go(repo, on_event=look)
    kept = "gitflow/attempt/p/1/1"
    message = f"{branch} was checked out in {linked.path}, so the result was not put there"
    record = engine.record(repo, "1")
    assert (played.code, record["status"], record["reason"], record["message"]) == (
        4,
        "failed",
        "foreign-commits",
        f"{message}; it is kept as {kept}",
    )
    assert record["attempts"][-1]["kept"] == kept
    assert repo.show(kept, "a.txt") == "one\n"
    assert [name for name in repo.branches() if name.startswith("gitflow/attempt/")] == [kept]


# --- what an agent does there ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deed", "who", "paths"),
    [
        ("true", "", ""),
        ("git status", "", ""),
        ("echo more >> README.md; echo x > new", "1, 2", "README.md, new"),
        ("git add dirty", "1", "dirty"),
        ("echo 2 > dirty; rm README.md", "1, 2", "README.md, dirty"),
    ],
)
def test_what_changes_in_the_checkout_while_agents_work_is_told_and_stays(
    repo: Repo, deed: str, who: str, paths: str
) -> None:
    repo.write("dirty", "1")
    inside = f"(cd {repo.path}; {deed}) >/dev/null; "
    engine.plan(repo, task("1", f"{inside}echo 1 > a"), task("2", "echo 2 > b", depends_on=["1"]))
    played = engine.go(repo, jobs=1)
    engine.finished(repo, played)
    by = "by an agent or by somebody else"
    said = [f"files of your checkout changed while {who} ran, {by}: {paths}"] if paths else []
    warned = [told.text for told in played.told if told.event == "warning"]
    assert [text for text in warned if "checkout" in text] == said
    assert (repo.path / "dirty").read_text() == ("2\n" if "echo 2" in deed else "1")
