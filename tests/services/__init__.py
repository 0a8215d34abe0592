"""Services that the tests start: throwaway Redis and PostgreSQL servers, and Switchboard itself.

Every class starts one process on a free port, keeps its log in a file, and ends that process by its id.
"""
