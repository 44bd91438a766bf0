from result_files import make_result  # noqa: F401
