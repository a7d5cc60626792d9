"""What doctor asks of GitHub: one setting wrong at a time, and answers that do not come."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gitflow_agents.forge import ForgeRefused, Looked
from gitflow_agents.github import GitHub, premises
from gitflow_agents.github.premises import Wanted, kind_of, look
from gitflow_agents.github.whereabouts import Whereabouts
from gitflow_agents.service import setup
from tests import forge, repos
from tests.forge.state import Token
from tests.repos import Cli, Repo

PROJECT = Path(__file__).parent.parent
NAMES = ("gitflow.yml", "gitflow-task.yml", "gitflow-train.yml", "gitflow-commands.yml")


class Ready:
    """Alice's repository, made ready by `init` for the workflows of alice/tool, which is there."""

    def __init__(self, hub: forge.Hub, template: Repo, folder: Path) -> None:
        self.hub = hub
        tool = repos.copy(template, folder / "tool")
        for name in ("reconcile.yml", "task.yml", "train.yml"):
            path = f".github/workflows/{name}"
            tool.write(path, (PROJECT / path).read_text())
        tool.commit("workflows")
        self.uses = f"bob/tool@{tool.sha('main')}"
        self.tool = hub.repository("bob/tool", tool)
        self.repo = repos.copy(template, folder / "shop")
        self.repo.identify()
        for path, text in setup.files(self.uses).items():
            self.repo.write(path, text)
        self.repo.commit("gitflow-agents")
        self.shop = hub.repository("alice/shop", self.repo, private=True)
        self.alice = hub.person("alice")
        # What it is, and not what happened to it.
        self._settings = {
            name: copy.deepcopy(value)
            for name, value in vars(self.shop).items()
            if name not in ("git", "workflows", "people")
        }

    def there(self, by: Token) -> Whereabouts:
        """Return where the repository is asked, with somebody's token."""
        return Whereabouts("alice/shop", "github.com", self.hub.api, self.hub.base, by.text)

    def look(self, by: Token | None = None, **wanted: str) -> Looked:
        """Return what is found with alice's token, or with another one."""
        about = Wanted(wanted.get("branch", "main"), NAMES, wanted.get("called", self.uses))
        return look(self.there(by or self.alice), about)

    def reset(self) -> None:
        """Take back what a test has changed."""
        self.hub.heal()
        self.hub.requests.clear()
        vars(self.shop).update(copy.deepcopy(self._settings))
        self.alice.scopes = ("repo", "workflow")
        self.shop.git.git("update-ref", "refs/heads/main", self.repo.sha("main"))


@pytest.fixture(scope="module")
def made(template: Repo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    folder = tmp_path_factory.mktemp("premises")
    with forge.serve(folder / "hub") as hub:
        yield Ready(hub, template, folder)


@pytest.fixture
def ready(made: Ready) -> Iterator[Ready]:
    yield made
    made.reset()


def test_nothing_is_wrong_where_everything_is_set_and_nothing_was_written(ready: Ready) -> None:
    said = ready.look()
    assert said == Looked((), (), "alice/shop on github.com, asked with a classic token")
    assert {one.method for one in ready.hub.asked()} == {"GET"}
    assert len(ready.hub.asked()) <= 20


def archive(ready: Ready) -> None:
    ready.shop.archived = True


def other_default(ready: Ready) -> None:
    ready.shop.default_branch = "trunk"
    ready.shop.git.git("update-ref", "refs/heads/trunk", "refs/heads/main")


def few_scopes(ready: Ready) -> None:
    ready.alice.scopes = ("public_repo",)


def no_pull_requests(ready: Ready) -> None:
    ready.shop.allow_pull_requests = False


def actions_off(ready: Ready) -> None:
    ready.shop.actions_enabled = False


def own_only(ready: Ready) -> None:
    ready.shop.allowed_actions = "local_only"


def selected(ready: Ready) -> None:
    ready.shop.allowed_actions = "selected"
    ready.shop.chosen_actions = {"github_owned_allowed": True, "patterns_allowed": ["carol/*"]}


def asleep(ready: Ready) -> None:
    ready.shop.switched_off[".github/workflows/gitflow.yml"] = "disabled_inactivity"


def not_pushed(ready: Ready) -> None:
    git = ready.shop.git
    tree = git.git("rev-parse", "main~:")
    git.git("update-ref", "refs/heads/main", git.git("commit-tree", "-m", "empty", tree))


def ruled(ready: Ready) -> None:
    ready.shop.rules["*"] = {"pull_request", "max_file_size"}


SETTINGS = "/alice/shop/settings"


def test_everything_that_is_wrong_is_found_in_one_look(ready: Ready) -> None:
    for change in (archive, other_default, few_scopes, no_pull_requests, own_only, asleep, ruled):
        change(ready)
    assert [one.code for one in ready.look().troubles] == [
        "repository-closed",
        "default-branch-other",
        "token-scope",
        "actions-barred",
        "pull-requests-not-allowed",
        "workflow-off",
        "branches-ruled",
    ]


@pytest.mark.slow  # all of it at once is fast
@pytest.mark.parametrize(
    ("change", "codes", "said", "hint"),
    [
        (archive, ["repository-closed"], "alice/shop is archived", SETTINGS),
        (other_default, ["default-branch-other"], "is trunk", f"{SETTINGS}/branches"),
        (few_scopes, ["token-scope"], "can start no run", "/settings/tokens"),
        (
            no_pull_requests,
            ["pull-requests-not-allowed"],
            "told of in an issue",
            "Workflow permissions",
        ),
        (actions_off, ["actions-off"], "switched off", f"{SETTINGS}/actions"),
        (own_only, ["actions-barred"], "actions/checkout", f"{SETTINGS}/actions"),
        (selected, ["actions-barred"], "may not use bob/tool,", f"{SETTINGS}/actions"),
        (asleep, ["workflow-off"], "60 days", "gh workflow enable gitflow.yml"),
        (not_pushed, ["workflow-unknown"] * 4, "GitHub has no workflow", "git push origin main"),
        (ruled, ["branches-ruled"], "`pull_request` for flow/PLAN,", f"{SETTINGS}/rules"),
    ],
)
def test_a_setting_that_is_wrong_is_named_with_its_place(
    ready: Ready, change: Callable[[Ready], None], codes: list[str], said: str, hint: str
) -> None:
    change(ready)
    found = ready.look()
    assert ([one.code for one in found.troubles], found.unchecked) == (codes, ())
    assert said in found.troubles[0].message
    assert hint in found.troubles[0].hint


@pytest.mark.slow
def test_a_commit_that_the_callers_name_and_nobody_has_is_named(ready: Ready) -> None:
    (found,) = ready.look(called=f"bob/tool@{'0' * 40}").troubles
    assert (found.code, found.hint) == (
        "called-missing",
        "gitflow-agents init --upgrade --uses bob/tool@COMMIT",
    )
    said = ready.look(called=f"bob/gone@{'0' * 40}")
    assert (said.troubles, said.unchecked) == (
        (),
        (
            "whether bob/gone has the commit 000000000000: bob/gone is not there, or this token "
            "may not see it",
        ),
    )


@pytest.mark.slow
def test_an_environment_that_asks_nobody_is_named(ready: Ready) -> None:
    ready.shop.environments["gates"] = forge.Environment(reviewers=("dora",))
    ready.shop.environments["open"] = forge.Environment()
    looked = look(
        ready.there(ready.alice), Wanted("main", (), environments=("gates", "open", "a b"))
    )
    assert [one.message for one in looked.troubles if one.code == "environment-open"] == [
        "environment open, which the config asks for approvals, asks nobody: it has no reviewers",
        "environment a b, which the config asks for approvals, is not there",
    ]


@pytest.mark.slow
def test_a_board_without_a_secret_to_keep_it_is_named(ready: Ready) -> None:
    wanted = Wanted("main", NAMES, ready.uses, has_boards=True)
    (found,) = look(ready.there(ready.alice), wanted).troubles
    assert (found.code, "gh secret set GITFLOW_PROJECT_TOKEN" in found.hint) == (
        "board-token-missing",
        True,
    )
    ready.shop.secrets["GITFLOW_PROJECT_TOKEN"] = "swordfish"
    assert look(ready.there(ready.alice), wanted).troubles == ()


def test_workflows_with_a_token_of_their_own_need_no_leave_to_open_pull_requests(
    ready: Ready,
) -> None:
    ready.shop.allow_pull_requests = False
    ready.shop.secrets["GITFLOW_TOKEN"] = "swordfish"
    assert ready.look().troubles == ()
    ready.shop.secrets = {"GITFLOW_APP_PRIVATE_KEY": "swordfish"}
    ready.shop.variables = {"GITFLOW_APP_CLIENT_ID": "Iv1.shop"}
    assert ready.look().troubles == ()


@pytest.mark.slow
def test_half_an_app_is_named_with_its_other_half(ready: Ready) -> None:
    ready.shop.secrets = {"GITFLOW_APP_PRIVATE_KEY": "swordfish"}
    (found,) = ready.look().troubles
    assert (found.code, found.hint.partition(",")[0]) == (
        "app-half-set",
        "gh variable set GITFLOW_APP_CLIENT_ID",
    )
    many = {f"A_{n}": "" for n in range(30)}
    ready.shop.secrets, ready.shop.variables = {}, {**many, "GITFLOW_APP_CLIENT_ID": "Iv1.shop"}
    (found,) = ready.look().troubles
    assert (found.code, found.hint.partition(" <")[0]) == (
        "app-half-set",
        "gh secret set GITFLOW_APP_PRIVATE_KEY",
    )


@pytest.mark.slow
def test_a_run_that_a_policy_kept_from_beginning_is_shown(ready: Ready, tmp_path: Path) -> None:
    clone = repos.copy(ready.repo, tmp_path / "broken")
    broken = clone.path / ".github/workflows/gitflow.yml"
    broken.write_text(broken.read_text().replace("@" + ready.uses.partition("@")[2], "@gone"))
    clone.commit("calls what is not there")
    forge.push(ready.hub, clone, ready.shop, ready.alice, "main", "main:plan/p")
    (found,) = ready.look().troubles
    assert found.code == "run-never-began"
    assert f"{ready.hub.base}/alice/shop/actions/runs/" in found.message
    assert "Policies" in found.hint


def test_a_dispatch_that_a_policy_forbids_is_refused_with_where_it_is(ready: Ready) -> None:
    ready.shop.forbidden_events = {"workflow_dispatch"}
    hub = ready.hub
    github = GitHub("alice/shop", ready.alice.text, api=hub.api, server=hub.base, branch="main")
    with pytest.raises(ForgeRefused, match="is not allowed") as e:
        github.start("reconcile", {})
    assert e.value.hint == "an Actions policy forbids it: Settings, Actions, Policies"


@pytest.mark.slow
def test_who_may_not_see_the_settings_is_told_what_it_takes(ready: Ready) -> None:
    bob = ready.hub.person("bob", (ready.shop, "write"))
    ready.shop.allow_pull_requests = False
    said = ready.look(bob)
    assert said.troubles == ()
    assert said.unchecked == (
        "whether Actions may run, whether Actions may open pull requests: GitHub answered 403: "
        "Must have admin rights to Repository; it needs the scope `repo`, and you the role admin",
    )
    carol = ready.hub.person("carol", (ready.shop, "read"))
    assert [one.code for one in ready.look(carol).troubles] == ["token-reads-only"]
    job = ready.hub.mint(ready.shop, {"contents": "read", "actions": "read"})
    refused = "GitHub answered 403: Resource not accessible by integration"
    assert ready.look(job).unchecked == (
        "whether Actions may run, whether Actions may open pull requests, which secrets there are: "
        f"{refused}; ask with the token of an admin",
        f"whether bob/tool has the commit {ready.uses.partition('@')[2][:12]}: {refused}; this "
        "token may not look at bob/tool",
    )
    less = ready.hub.mint(ready.shop, {"contents": "read"})
    assert "the job has to give it `actions: read`" in "\n".join(ready.look(less).unchecked)


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (401, "; the token is no good, or too old"),
        (200, "is no GitHub"),
        (404, "it is not there, or this token may not see it"),
        (503, "GitHub answered 503"),
        ("away", "GitHub cannot be reached"),
    ],
)
def test_what_does_not_answer_is_asked_once_and_is_no_trouble(
    ready: Ready, trouble: forge.hub.Trouble, said: str
) -> None:
    ready.hub.refuse("GET *", trouble, times=-1)
    found = ready.look()
    assert found.troubles == ()
    (one,) = found.unchecked
    assert one.startswith("anything of alice/shop: ")
    assert said in one
    assert len(ready.hub.asked()) == 1


@pytest.mark.slow
def test_whatever_fails_on_the_way_is_told_and_no_bug(ready: Ready) -> None:
    ready.shop.archived = True
    for seed in range(25):
        ready.hub.trouble(seed, 0.3, (500, 502, 403, 404, 429, "lost", "away"))
        found = ready.look()
        assert found.unchecked or [one.code for one in found.troubles] == ["repository-closed"]
        ready.hub.heal()


@pytest.mark.slow
def test_what_does_not_answer_later_takes_nothing_back(ready: Ready) -> None:
    ready.shop.archived = True
    ready.hub.refuse("GET /repos/alice/shop/actions/workflows/*", 502, times=-1)
    ready.hub.limit("GET /repos/alice/shop/actions/permissions")
    found = ready.look()
    assert [one.code for one in found.troubles] == ["repository-closed"]
    assert [one.partition(":")[0] for one in found.unchecked] == ["whether Actions may run"]


@pytest.mark.parametrize(
    ("token", "name"),
    [
        ("github_pat_11A", "a fine-grained token"),
        ("ghp_x", "a classic token"),
        ("gho_x", "the token of a login"),
        ("ghs_x", "the token of a job or of an App"),
        ("0123abcd", "a token of no known kind"),
    ],
)
def test_the_kind_of_a_token_is_known_by_how_it_begins(token: str, name: str) -> None:
    assert kind_of(token).name == name


def test_each_kind_of_token_is_told_what_it_lacks() -> None:
    kinds = ("github_pat_", "gho_", "ghs_", "")
    assert [kind_of(one).needs("Administration") for one in kinds] == [
        "it needs `Administration: read`, and you the role admin",
        "it needs the scope `repo`, and you the role admin",
        "ask with the token of an admin",
        "ask with the token of an admin",
    ]
    assert [kind_of(one).needs("Secrets") for one in kinds[:1]] == ["it needs `Secrets: read`"]


def test_the_actions_that_have_to_be_allowed_are_those_that_the_workflows_use() -> None:
    files = [PROJECT / "action.yml"]
    files += [PROJECT / f".github/workflows/{name}.yml" for name in ("reconcile", "task", "train")]
    text = "\n".join(file.read_text() for file in files)
    used = {"/".join(one.split("/")[:2]) for one in re.findall(r"uses: ([^\s@]+)@", text)}
    assert used == {f"actions/{name}" for name in premises.USED}


def test_doctor_asks_github_with_a_token_and_says_so_without_one(
    ready: Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = ready.shop.git.clone(tmp_path / "clone")
    clone.identify()
    clone.git("remote", "set-url", "origin", f"{ready.hub.base}/alice/shop.git")
    host = ready.hub.base.partition("//")[2]
    cli = Cli(clone)
    monkeypatch.setenv("GITHUB_SERVER_URL", ready.hub.base)
    monkeypatch.setenv("GITHUB_API_URL", ready.hub.api)
    said = cli("doctor")
    assert said.stdout == (
        f"could not be checked: what GitHub allows: there is no token for {host}: gh auth login "
        f"--hostname {host}, or set GH_TOKEN to a token that may start workflows\n"
        f"nothing wrong: {clone.path}, 0 plans\n"
    )
    assert ready.hub.asked() == []
    monkeypatch.setenv("GH_TOKEN", ready.alice.text)
    said = cli("doctor")
    assert said.stdout == (
        f"nothing wrong: {clone.path}, 0 plans, alice/shop on {host}, asked with a classic token\n"
    )
    ready.shop.allow_pull_requests = False
    told = cli("doctor", "--fix", "--json", check=False)
    assert (told.exit_code, [one["code"] for one in told.json["left"]]) == (
        1,
        ["pull-requests-not-allowed"],
    )
    assert ready.alice.text not in told.stdout


def test_doctor_asks_nobody_where_actions_are_not_wanted(
    ready: Ready, repo: Repo, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.identify()
    repo.git("remote", "add", "origin", ready.hub.url(ready.shop))
    monkeypatch.setenv("GITHUB_SERVER_URL", ready.hub.base)
    monkeypatch.setenv("GITHUB_API_URL", ready.hub.api)
    monkeypatch.setenv("GH_TOKEN", ready.alice.text)
    assert cli("doctor").stdout == f"nothing wrong: {repo.path}, 0 plans\n"
    assert ready.hub.asked() == []
