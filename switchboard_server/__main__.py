"""`python -m switchboard_server [options] module:application`."""

from switchboard_server.cli import CommandLine

if __name__ == "__main__":
    CommandLine.entrypoint()
