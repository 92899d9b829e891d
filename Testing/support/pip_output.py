"""What pip 23 and pip 26 print when an installation fails; for tests."""

REFUSED = """\
Looking in indexes: http://127.0.0.1:9/simple
WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken by \
'NewConnectionError('<pip._vendor.urllib3.connection.HTTPConnection object at 0x7f8c60d43ed0>: Failed to establish a \
new connection: [Errno 111] Connection refused')': /simple/rich/
ERROR: Could not find a version that satisfies the requirement rich (from versions: none)
ERROR: No matching distribution found for rich"""

#: Of a single file, in pip 26.
NO_NAME = """\
Collecting x==1.0
error: connection-failed

\N{MULTIPLICATION SIGN} Failed to connect to nonexistent.invalid while fetching https://nonexistent.invalid/x-1.0-py3-none-any.whl
╰─> Failed to resolve IP address for 'nonexistent.invalid' ([Errno -2] Name or service not known)

hint: Are you connected to the Internet?"""

NO_SPACE = """\
Installing collected packages: rich
ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"""

READ_ONLY = """\
Installing collected packages: rich
ERROR: Could not install packages due to an OSError: [Errno 30] Read-only file system: '/opt/s/site-packages/rich'"""

IN_USE = """\
Installing collected packages: tokenizers
ERROR: Could not install packages due to an OSError: [WinError 5] Access is denied: 'C:\\\\Users\\\\jane\\\\x.pyd'
Consider using the `--user` option or check the permissions."""

NO_VERSION = """\
Looking in links: /opt/files
ERROR: Could not find a version that satisfies the requirement rich>=999 (from versions: 13.9.4, 15.0.0)
ERROR: No matching distribution found for rich>=999"""

CONFLICT = """\
ERROR: Cannot install rich>=14 because these package versions have conflicting dependencies.

The conflict is caused by:
    The user requested rich>=14
    The user requested (constraint) rich==13.9.4

Additionally, some packages in these conflicts have no matching distributions available for your environment:
    rich

ERROR: ResolutionImpossible: for help visit https://pip.pypa.io/en/latest/topics/dependency-resolution/"""
