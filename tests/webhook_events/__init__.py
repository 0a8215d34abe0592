"""Tests of the events that webhooks are told of."""
