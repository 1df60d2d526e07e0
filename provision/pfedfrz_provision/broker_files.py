"""What Mosquitto reads: its configuration, the password file and the access list's name."""

from __future__ import annotations

from .registry import Accounts, Registry

__all__ = ["mosquitto_conf", "password_file"]

_CONF = """\
# Mosquitto for the federation "{federation}", written once by `pfedfrz provision`: changes stay.
# Start it with: mosquitto -c {directory}/mosquitto.conf

# Started by root, Mosquitto becomes this user before it opens its files: the folder and all in it
# must belong to it, or it does not start. Started by another user it stays that one.
user {user}

listener {port}{bind}
certfile {directory}/server.pem
keyfile {directory}/server.key
# The account is the session: nobody can take over another's by connecting with its client id.
use_username_as_clientid true
set_tcp_nodelay true
{accounts}
allow_anonymous false
acl_file {directory}/access.acl

# Kept over a restart: sessions with their subscriptions and what waits for their clients. The file
# is replaced whole, so that a kill leaves the last one. What is newer is not lost for good: every
# member publishes its state anew when it connects, and keeps updates until they are accepted.
persistence true
persistence_location {directory}/
autosave_interval 60

# Bounds for each client. The queue holds a wave of uploads for a coordinator that is busy; a
# packet is a chunk of 256 KiB or one JSON message, and 2 MiB is what pfedfrz takes itself.
max_packet_size 2097152
max_inflight_messages 64
max_queued_messages 20000
max_queued_bytes 536870912
max_keepalive 300
persistent_client_expiration 7d

sys_interval 0
log_dest stdout
log_type error
log_type warning
log_type notice
log_timestamp_format %Y-%m-%dT%H:%M:%S
"""
_PASSWORDS = "password_file {directory}/passwords"
_CERTIFICATES = """\
# The account is the name in the client's certificate.
cafile {directory}/ca.pem
crlfile {directory}/revoked.pem
require_certificate true
use_identity_as_username true
"""


def mosquitto_conf(registry: Registry) -> str:
    """`mosquitto.conf`, with absolute paths: Mosquitto's own start at where it was started."""
    accounts = _PASSWORDS if registry.accounts is Accounts.PASSWORD else _CERTIFICATES
    return _CONF.format(
        federation=registry.federation,
        directory=registry.broker_directory,
        user=registry.broker_user,
        port=registry.port,
        bind=f" {registry.bind}" if registry.bind else "",
        accounts=accounts.format(directory=registry.broker_directory).rstrip(),
    )


def password_file(registry: Registry) -> str:
    """`passwords`: a line for each account that has one."""
    return "".join(
        f"{name}:{member.password_hash}\n"
        for name, member in sorted(registry.members.items())
        if member.password_hash
    )
