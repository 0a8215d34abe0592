#!/usr/bin/env python
"""Switchboard's command line in a checkout; see `broker_project/__main__.py`."""

from broker_project.__main__ import main

if __name__ == "__main__":
    main()
