# What we use of twisted.names.hosts, which has no annotations of its own.
from twisted.python.filepath import FilePath

def searchFileForAll(hostsFile: FilePath[str], name: bytes) -> list[str]: ...
