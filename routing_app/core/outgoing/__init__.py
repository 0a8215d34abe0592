"""Calls that the server makes to others: signed POSTs of JSON, to webhooks and to the backends of hooks."""
