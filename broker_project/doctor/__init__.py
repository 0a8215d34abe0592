"""`manage.py doctor`: a module for each subject, which reads the machine, and judges what was read.

`judge` is a function of readings alone, so that a test can hand it readings that are wrong on purpose.
"""
