"""What GraphQL says: GitHub's own schema, executed over what the hub has.

Start with answer. `schemas` decides what can be asked, `limits` how much of it and by which token,
`answers` executes it; `repositories`, `issues` and `projects` know what there is.
"""

from tests.forge.graph.answers import answer
from tests.forge.graph.limits import Hung
from tests.forge.graph.schemas import complaints, schema
from tests.forge.graph.shapes import purse

__all__ = ["Hung", "answer", "complaints", "purse", "schema"]
