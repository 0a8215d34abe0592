"""What operators have set up, as one YAML file, and such a file applied: `manage.py export` and `import`.

A `Section` is one list of the file. The core has those of its own rows, protocols name theirs in
`Protocol.exports`. Rows are validated and saved by the serializers and services of REST.
"""
