"""The stream protocol: publications as Server-Sent Events, over plain HTTP."""
