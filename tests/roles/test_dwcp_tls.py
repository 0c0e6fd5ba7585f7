"""The role dwcp_tls: a host has the certificates of its own roles and no others, and only who needs a key can read it."""

from __future__ import annotations

TLS = "/etc/dwcp/tls"


def identities(host):
    """File names without ending of the certificates that belong on ``host``, but for the gateway's."""
    return (["agent"] if host.role == "agent" else ["monitor"]) + (["load"] if host.load else [])


def source(want, host, name):
    return (want.env.state / "pki" / host.name / name).read_text().strip()


def test_a_host_has_what_its_roles_need_and_nothing_else(place, on):
    wanted = {"ca.crt"} | {f"{name}.{end}" for name in identities(place) for end in ("crt", "key")}
    if place.gateway:
        wanted.add("gateway.pem")
    assert set(on(place).check_output("ls -A %s", TLS).split()) == wanted


def test_the_cas_key_is_nowhere(place, on, want):
    secret = (want.env.state / "pki/ca.key").read_text().splitlines()[1]
    assert on(place).run("grep -rlF -- %s /etc/dwcp /etc/prometheus /etc/haproxy /var/lib/dwcp", secret).stdout == ""


def test_certificates_and_keys_are_those_of_this_environment(place, on, want):
    host = on(place)
    assert host.file(f"{TLS}/ca.crt").content_string.strip() == (want.env.state / "pki/ca.crt").read_text().strip()
    for name in identities(place):
        for end in ("crt", "key"):
            assert host.file(f"{TLS}/{name}.{end}").content_string.strip() == source(want, place, f"{name}.{end}")


def test_every_certificate_is_of_the_ca_for_this_host_and_fits_its_key(place, on):
    host = on(place)
    pairs = [(f"{TLS}/{name}.crt", f"{TLS}/{name}.key") for name in identities(place)]
    if place.gateway:
        pairs.append((f"{TLS}/gateway.pem", f"{TLS}/gateway.pem"))
    for certificate, key in pairs:
        host.check_output("openssl verify -CAfile %s/ca.crt -verify_hostname %s %s", TLS, place.name, certificate)
        assert host.check_output("openssl x509 -in %s -noout -pubkey", certificate) == host.check_output("openssl pkey -in %s -pubout", key)


def test_the_gateways_file_is_its_certificate_and_its_key(gateway, on, want):
    said = on(gateway).file(f"{TLS}/gateway.pem").content_string
    assert said.split() == (source(want, gateway, "gateway.crt") + "\n" + source(want, gateway, "gateway.key")).split()


def test_keys_belong_to_root_and_open_to_the_agents_group_at_most(place, modes):
    wanted = {f"{TLS}/ca.crt": "root root 644"}
    for name in identities(place):
        wanted[f"{TLS}/{name}.crt"] = "root root 644"
        wanted[f"{TLS}/{name}.key"] = "root root 600" if name == "monitor" else "root dwcp 640"
    if place.gateway:
        wanted[f"{TLS}/gateway.pem"] = "root root 600"
    assert modes(place, *wanted) == wanted


def test_the_agents_user_reads_its_own_key(agent, on):
    assert "PRIVATE KEY" in on(agent).check_output("setpriv --reuid=dwcp --regid=dwcp --clear-groups cat %s/agent.key", TLS)


def refused(host, user, group, name):
    tried = host.run("setpriv --reuid=%s --regid=%s --clear-groups cat %s/%s", user, group, TLS, name)
    assert tried.rc != 0, f"{user} reads {name}"
    assert "Permission denied" in tried.stderr


def test_nobody_else_reads_a_key(place, on):
    names = [f"{name}.key" for name in identities(place)] + (["gateway.pem"] if place.gateway else [])
    for name in names:
        refused(on(place), "nobody", "nogroup", name)


def test_the_agents_user_does_not_read_the_gateways_key(gateway, on):
    refused(on(gateway), "dwcp", "dwcp", "gateway.pem")


def test_the_agents_user_does_not_read_monitorings_key(ops, on):
    refused(on(ops), "dwcp", "dwcp", "monitor.key")
