"""The search in a catalog of tools."""

from roost.tools.catalog_search import CatalogSearch

SEARCH = CatalogSearch(
    [
        ("github__issues_create", "Create an issue\nAny user with pull access can create an issue."),
        ("github__issues_list", "List issues assigned to the authenticated user"),
        ("github__pulls_merge", "Merge a pull request"),
        ("k8s__readNamespacedPodLog", "read log of the specified Pod"),
        ("pets__gétPet", "Info for a specific pet"),
    ]
)


def test_words_of_names_and_descriptions_are_found() -> None:
    assert SEARCH.best("create issues", 2)[0] == "github__issues_create"
    assert SEARCH.best("the log of a pod", 3)[0] == "k8s__readNamespacedPodLog"
    assert SEARCH.best("merging pull requests", 1) == ["github__pulls_merge"]


def test_an_exact_name_comes_first() -> None:
    assert SEARCH.best("issues: github__pulls_merge, please", 9)[0] == "github__pulls_merge"


def test_no_word_finds_nothing() -> None:
    assert list(SEARCH.best("", 5)) == list(SEARCH.best("xyzzy", 5)) == []
    assert list(CatalogSearch(()).best("pod", 5)) == []
