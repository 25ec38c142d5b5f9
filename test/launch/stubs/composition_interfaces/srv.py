from __future__ import annotations


class LoadNode:
    class Request:
        pass

    class Response:
        pass
