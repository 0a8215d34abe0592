"""`python -m broker_project.server [options] module:application`."""

from broker_project.server.cli import CommandLine

if __name__ == "__main__":
    CommandLine.entrypoint()
