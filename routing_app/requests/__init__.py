"""The requests protocol: the Connection object of `wyre`, with request, partial answers, reply and error."""
