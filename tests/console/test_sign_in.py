"""Signing in to the console: what a browser may do, and what a page of somebody else may not."""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.console.sign_ins import PAGE, ask, headers_of, opened, signed_in
from tests.server.accounts import tenant
from tests.server.conftest import Served


def test_browsers_get_the_page_and_programs_what_they_always_got(shared: Served) -> None:
    page = ask(shared, "GET", "/", Accept="text/html,*/*")
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert ask(shared, "GET", "/").status == 401
    assert ask(shared, "GET", "/", Accept="*/*").status == 401
    homes = [ask(shared, "GET", path).headers["location"] for path in ("/console", "/console/")]
    assert homes == ["./", "../"]
    known = shared.request("GET", "/")
    assert (known.status, known.code) == (404, "not_found")


def test_files_are_kept_for_ever_and_the_page_is_not(shared: Served) -> None:
    page = ask(shared, "GET", "/", Accept="text/html")
    name = page.body.decode().partition('src="')[2].partition('"')[0]
    file = ask(shared, "GET", f"/{name}", Accept_Encoding="gzip")
    assert (file.status, file.headers["content-encoding"]) == (200, "gzip")
    assert "immutable" in file.headers["cache-control"]
    assert page.headers["cache-control"] == "no-cache"
    assert ask(shared, "GET", "/", Accept="text/html", If_None_Match=page.headers["etag"]).status == 304
    for wrong in ("../service.py", "..%2fservice.py", "nothing.js", "index.html"):
        assert ask(shared, "GET", f"/console/files/{name.split('/')[2]}/{wrong}").status == 404


def test_the_cookie_counts_only_with_the_header_of_the_page(shared: Served) -> None:
    answer = ask(shared, "POST", "/console/sign-in", Authorization=f"Bearer {shared.token}", **PAGE)
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    page = headers_of(answer)
    pair = page["Cookie"]
    assert ask(shared, "GET", "/sessions", **page).status == 200
    assert ask(shared, "GET", "/sessions", Cookie=pair).status == 401  # as an image or a form of another page sends it
    assert ask(shared, "POST", "/drain", **page, Origin="http://localhost:1").code == "forbidden_origin"
    assert ask(shared, "GET", "/sessions", **page, Host="evil.example").code == "forbidden_host"
    assert ask(shared, "GET", "/", Accept="text/html", Host="evil.example").code == "forbidden_host"


def test_what_a_server_on_another_port_gets_is_no_sign_in(shared: Served) -> None:
    """Browsers send the cookie to every port of the host: to a program that an agent has started there, too."""
    page, other = signed_in(shared), signed_in(shared)
    secret = page["Cookie"].partition("=")[2]
    for half in ("1", secret, "x" * 43, other["Roost-Browser"]):
        assert ask(shared, "GET", "/me", Cookie=page["Cookie"], Roost_Browser=half).status == 401
    assert ask(shared, "GET", "/me", Authorization=f"Bearer {secret}").status == 401
    assert upgraded(shared, Cookie=page["Cookie"], Origin=shared.url) == 401
    half = f"roost.v1, roost.browser.{page['Roost-Browser']}"
    assert upgraded(shared, Cookie=page["Cookie"], Origin=shared.url, Sec_WebSocket_Protocol=half) == 101
    foreign = {"Cookie": page["Cookie"], "Origin": "http://localhost:1", "Sec_WebSocket_Protocol": half}
    assert upgraded(shared, **foreign) == 403


def upgraded(served: Served, **headers: str) -> int:
    """Ask for a WebSocket, and return the status."""
    more = {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec_WebSocket_Version": "13"}
    more |= {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Protocol": "roost.v1", **headers}
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    try:
        connection.request("GET", "/ws", headers={key.replace("_", "-"): one for key, one in more.items()})
        return connection.getresponse().status
    finally:
        connection.close()


def test_without_the_header_nobody_is_signed_in_or_out(shared: Served) -> None:
    for path in ("sign-in", "enter", "sign-out"):
        answer = ask(shared, "POST", f"/console/{path}", {"code": "x"}, Authorization=f"Bearer {shared.token}")
        assert (answer.status, answer.code) == (403, "forbidden_origin")


def test_signing_out_ends_the_cookie(shared: Served) -> None:
    page = signed_in(shared)
    assert ask(shared, "GET", "/me", **page).json["token"] is None
    assert ask(shared, "POST", "/console/sign-out", **page).status == 204
    assert ask(shared, "GET", "/me", **page).status == 401


@pytest.mark.parametrize("who", ["owner", "alice"])
def test_signing_out_ends_the_streams_of_this_browser(serve: Any, who: str) -> None:
    served = serve()
    token = served.token if who == "owner" else tenant(served, who).token
    page, stays = signed_in(served, token), signed_in(served, token)
    with opened(served, page) as ends, opened(served, stays) as other:
        assert [next(iter(one)).kind for one in (ends, other)] == ["begin", "begin"]
        assert ask(served, "POST", "/console/sign-out", **page).status == 204
        last = list(ends)[-1]
        assert (last.kind, last.data["code"]) == ("problem", "token_ended")
        assert ask(served, "GET", "/me", **stays).status == 200
        other.connection.sock.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            assert [one.kind for one in other] == []


def test_a_new_token_of_the_home_ends_the_sign_ins_and_codes_of_its_owner(serve: Any) -> None:
    served = serve()
    alice = tenant(served, "alice")
    owner, hers, code = signed_in(served), signed_in(served, alice.token), served.post("/console/codes").json["code"]
    served.stop()
    again = serve(port=served.port)
    assert ask(again, "GET", "/me", **owner).status == 200  # the same token: a restart signs nobody out
    again.stop()
    (again.home / "token").unlink()
    last = serve(port=served.port)
    assert last.token != served.token
    assert ask(last, "GET", "/me", **owner).status == 401
    assert ask(last, "GET", "/me", **hers).json["account"] == "alice"
    assert ask(last, "POST", "/console/enter", {"code": code}, **PAGE).code == "unknown_code"


def test_a_sign_in_does_not_prolong_itself(shared: Served) -> None:
    page = signed_in(shared)
    assert ask(shared, "POST", "/console/codes", **page).status == 403
    assert ask(shared, "POST", "/console/sign-in", **page).status == 403


def test_a_wrong_token_is_refused_also_beside_a_sign_in(shared: Served) -> None:
    page = signed_in(shared)
    assert ask(shared, "POST", "/console/sign-in", Authorization="Bearer wrong", **page).status == 401


def test_signing_out_without_a_sign_in_writes_nothing(serve: Any) -> None:
    served, written = serve(), list[object]()
    cookie = signed_in(served)["Cookie"].partition("=")[0]
    served.daemon._runtime.node.store.documents.watch("console.sign_in", lambda: written.append(1))
    false = {"Cookie": f"{cookie}=roost-browser-{'x' * 43}", "Roost-Browser": "x" * 43}
    assert ask(served, "POST", "/console/sign-out", **false).status == 204
    assert written == []


def test_a_code_works_once(shared: Served) -> None:
    code = shared.post("/console/codes").json["code"]
    assert ask(shared, "GET", "/sessions", Authorization=f"Bearer {code}").status == 401
    first = ask(shared, "POST", "/console/enter", {"code": code}, **PAGE)
    assert ask(shared, "GET", "/me", **headers_of(first)).status == 200
    second = ask(shared, "POST", "/console/enter", {"code": code}, **PAGE)
    assert (second.status, second.code) == (404, "unknown_code")


def test_an_account_is_itself_in_the_browser_and_ends_with_its_token(serve: Any) -> None:
    served = serve()
    alice, bob = tenant(served, "alice"), tenant(served, "bob")
    alice.session(id="plan")
    code = alice.post("/console/codes").json["code"]
    entered = ask(served, "POST", "/console/enter", {"code": code}, **PAGE)
    pages = [headers_of(entered), signed_in(served, bob.token)]
    seen = [ask(served, "GET", "/sessions", **page).json["sessions"] for page in pages]
    assert [[one["id"] for one in found] for found in seen] == [["alice.plan"], []]
    assert ask(served, "GET", "/nodes", **pages[0]).status == 403
    assert served.request("DELETE", f"/tokens/{alice.id}").status == 200
    assert [ask(served, "GET", "/me", **page).status for page in pages] == [401, 200]


def test_a_sign_in_ends_after_its_time(serve: Any) -> None:
    from roost.features.console import records

    served = serve()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("roost.features.console.service.SIGN_IN_SECONDS", 0.0)
        page = signed_in(served)
    assert ask(served, "GET", "/me", **page).status == 401
    assert records.SIGN_INS == 50


def test_the_oldest_sign_in_makes_room(serve: Any) -> None:
    served = serve(durability="relaxed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("roost.features.console.service.SIGN_INS", 3)
        pages = [signed_in(served) for _ in range(5)]
    assert [ask(served, "GET", "/me", **page).status for page in pages] == [401, 401, 200, 200, 200]


def test_two_daemons_of_one_machine_have_cookies_of_their_own(serve: Any, tmp_path: Any) -> None:
    one, other = serve(), serve(home=tmp_path / "other")
    assert signed_in(one)["Cookie"].partition("=")[0] != signed_in(other)["Cookie"].partition("=")[0]


def test_changes_are_streamed_only_to_those_who_may_see_them(serve: Any) -> None:
    served = serve()
    alice, bob = tenant(served, "alice"), tenant(served, "bob")
    with bob.stream("GET", "/console/changes") as theirs, alice.stream("GET", "/console/changes") as own:
        assert next(iter(own)).kind == "begin"
        assert next(iter(theirs)).kind == "begin"
        made = alice.session(id="plan")
        seen = next(iter(own))
        assert (seen.kind, [row["id"] for row in seen.data]) == ("sessions", [made])
        mine = bob.session(id="mine")
        seen = next(iter(theirs))
        assert [row["id"] for row in seen.data] == [mine]
        assert alice.request("DELETE", f"/sessions/{made}").status == 204
        assert any(event.kind == "gone" and event.data == [made] for event in own)


def test_the_command_of_the_guide_prints_a_link_that_works_once(shared: Served) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "console.md").read_text()
    assert "\nroost console " in guide.partition("```bash")[2].partition("```")[0]
    environment = {**os.environ, "ROOST_URL": shared.url, "ROOST_TOKEN": shared.token, "ROOST_HOME": str(shared.home)}
    command = [sys.executable, "-m", "roost", "console", "--print"]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True).stdout
    link, _, code = said.strip().partition("/#/enter/")
    assert link == shared.url
    assert ask(shared, "POST", "/console/enter", {"code": code}, **PAGE).status == 200
    assert ask(shared, "POST", "/console/enter", {"code": code}, **PAGE).status == 404
