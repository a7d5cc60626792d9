from tests import engine
from tests.engine import task
from tests.repos import Repo

def test_x(repo: Repo) -> None:
    engine.plan(repo, task("1", "echo a > a.txt", provides=["a"]), task("2", "cat a.txt > b.txt", preconditions=["a"]))
    engine.finished(repo, engine.go(repo))
