"""The ROS domain of this test process, which no other test process of this machine has."""

import socket
from contextlib import suppress

CLAIM = socket.socket(socket.AF_UNIX)


def claim_domain() -> int:
    for domain in range(51, 101):  # tools take those below
        # the kernel gives such a name to one socket, until that one's process ends
        with suppress(OSError):
            CLAIM.bind(f'\0lemore test domain {domain}')
            return domain
    msg = 'the ROS domains 51 to 100 are taken by other test processes: wait for one to end'
    raise RuntimeError(msg)


DOMAIN = claim_domain()
