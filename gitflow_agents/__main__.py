"""`python -m gitflow_agents` is the script `gitflow-agents`."""

from gitflow_agents.cli import main

if __name__ == "__main__":
    main()
