"""What a person who starts the outage by hand is told."""

from labkit import inventory
from labkit.outage import CLIENT, HERE, PORT, Outage

TEXT = """
The outage is up, in a world of its own: leave this shell and all of it is gone.

  client {client} -- switch --+-- h1 {h1:<11} -- w1 {w1:<11} has {vip} and answers ARP for it
                           +-- h2 {h2:<11} -- w2 {w2:<11} has {vip} too, and gets every odd source port

  Hypervisors: {mode}, {backend}; both drop packets in state INVALID.
  Addresses beside h1 to w2 are for SSH; w1 and w2 are {w1_data} and {w2_data} on the network of {vip}.

Look
  {connect}
                                                    ten connections per class: even ports work, odd ones do not
  ssh -F $LAB_SSH_CONFIG h2 {counters}
  hostaudit run -i $LAB_DIR/inventory.ini           run it while connections fail:
  {keep} &

Mend, and see what half a fix does
  python3 {lab_py} allow h2                then allow h1; `drop h2` puts it back
"""


def text(net: Outage) -> str:
    """Return the guide to this outage."""
    address = {name: host["address"] for name, host in inventory.load().items()}
    client = f"ip netns exec client python3 {HERE}/handshakes.py {net.vip} {PORT}"
    counters = {
        "iptables-legacy": "iptables-legacy -nvxL PVEFW-FORWARD",
        "iptables-nft": "iptables-nft -nvxL FORWARD",
        "nftables": "nft list ruleset",
    }
    return TEXT.format(
        **address,
        client=CLIENT,
        vip=net.vip,
        port=PORT,
        mode="they bridge" if net.mode == "bridge" else "they route",
        backend=net.backend_name,
        w1_data=net.worker_ip[0],
        w2_data=net.worker_ip[1],
        connect=f"{client} burst $((20000 + RANDOM / 2 * 2)) 10 1.5",
        keep=f"{client} keep 40001 60 0.5",
        counters=counters[net.backend_name],
        lab_py=HERE.parent / "lab.py",
    )
