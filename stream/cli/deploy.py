"""``posestream deploy``: runs the cameras of a site on the hosts of a cluster."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from stream.cli.site_argument import Cameras, LineArgument, open_folder, open_template
from stream.errors import LaunchError, TransportError
from stream.logs import print_notice

if TYPE_CHECKING:
    from stream.cluster.settings import Settings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def deploy(
    line: LineArgument,
    cameras: Cameras = None,
    name: Annotated[str, typer.Option("--name", help="What the site is called; NAME of NAME.yaml without it.")] = "",
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Drain its cameras instead, and forget it.")] = False,
) -> None:
    """Run the cameras of a site on the hosts of a cluster; on its head, whose controller follows the folder of cameras.

    'posestream camera' adds, removes and pauses cameras as it does for 'posestream serve'. Deployed again, a site goes
    over to the line that its file has by then, camera by camera. The key 'cluster' of the file says what its lanes
    need, how many cameras each runs, and when there are more of them.

    Examples:

        posestream deploy site.yaml

        posestream deploy site.yaml --withdraw
    """
    from stream.cli.cluster import open_client
    from stream.cli.line_argument import find_line
    from stream.cluster.controller import Deployment
    from stream.cluster.settings import read_settings

    file = find_line(line)
    site = name or file.stem
    if not _NAME.fullmatch(site):
        raise LaunchError(f"{site!r} is no name for a site: write letters, digits, '.', '-' and '_', as in --name hall")
    if withdraw:
        with open_client() as (client, _):
            return client.withdraw(site)
    template, settings = open_template(line), read_settings(file)
    folder = open_folder(line, cameras, is_new=True)
    deployment = Deployment(template.text, str(file), str(folder.path.resolve()), settings)
    with open_client() as (client, member):
        if not client.is_here:
            raise TransportError(
                f"{member.name} is not the head, whose controller reads the folder of cameras; run 'posestream deploy' "
                f"on the host with the address {member.head.rpartition(':')[0]}"
            )
        _check_keys(settings, member.head)
        client.deploy(site, deployment)
    print_notice(f"{site} is deployed with the cameras in {folder.path}; 'posestream cluster status' shows where")
    return None


def _check_keys(settings: Settings, head: str) -> None:
    """Raise :class:`TransportError` where lanes would publish beyond this host without keys."""
    from stream.transports.addresses import is_loopback_host

    if not (settings.keys or settings.relay) and not is_loopback_host(head.rpartition(":")[0].strip("[]")):
        raise TransportError(
            "lanes publish on the network, which needs CURVE keys; make them with 'posestream keygen keys', copy "
            "server.key_secret to every host, and give its path as keys under 'cluster' in the site's file, or a relay"
        )
