"""A seeded set of facts and paraphrased questions: facts about people and projects, each with many attributes.

Every question names its person or project in full and asks for one attribute in words that the fact does not use, so
words alone find the right one of a dozen facts by luck; every attribute is had by hundreds, so meaning alone must tell
names apart. Templates × names × values, drawn by one seed; `checked` makes sure that no content word is shared.
"""

from __future__ import annotations

import random
import re
from typing import NamedTuple

SEED = 20261121
_FIRST = (
    "Ada Bruno Carla Dmitri Elif Farid Greta Hugo Ines Jonas Kenji Leila Marek Nadia Oskar Priya Quentin Rosa Stefan"
    " Tomoko Ulla Viktor Wanda Ximena Yusuf Zelda Anton Bianca Cyril Dalia Emil Fiona Gustav Hanna Igor Jolanta Karim"
    " Lotte Milan Noor"
).split()
_LAST = (
    "Abe Bergström Castellano Dvorak Eriksen Fontaine Gallagher Haddad Ivanova Jankowski Kowalczyk Lindqvist Moreau"
    " Nakamura Okafor Petrov Quispe Rossi Schneider Takahashi Ueda Vasquez Weber Xu Yilmaz Zimmermann Almeida Brandt"
    " Chowdhury Delgado Engel Ferrari Goldberg Horvath Ito Jensen Kaplan Larsen Mbeki Novak"
).split()
_SHADES = (
    "amber azure cobalt coral crimson ebony emerald golden hazel indigo ivory jade lilac maroon ochre scarlet".split()
)
_BEASTS = (
    "badger condor dolphin falcon gecko heron ibex jackal koala lynx marmot narwhal otter panther quail raven salmon"
    " tapir urchin viper walrus yak zebra bison"
).split()


class Family(NamedTuple):
    """`says`: the facts; `asks`: the questions. `{n}` is the name, `{v}` the value."""

    says: tuple[str, ...]
    asks: tuple[str, ...]
    values: tuple[str, ...]


class Question(NamedTuple):
    text: str
    fact: int


class Set(NamedTuple):
    facts: list[str]
    questions: list[Question]


_PEOPLE = (
    Family(
        ("{n} works as a {v}.", "The profession of {n} is {v}."),
        ("What does {n} do for a living?", "How does {n} earn money?", "Which job is held by {n}?"),
        ("carpenter", "radiologist", "pastry chef", "bus driver", "patent lawyer", "luthier", "nurse", "geologist"),
    ),
    Family(
        ("{n} lives in {v}.", "The home of {n} is in {v}."),
        ("In which city does {n} reside?", "Which town should a letter to {n} be sent to?", "Where is {n} based?"),
        ("Lisbon", "Osaka", "Montreal", "Kraków", "Valparaíso", "Nairobi", "Tallinn", "Hanoi"),
    ),
    Family(
        ("{n} is allergic to {v}.", "{n} gets a rash from {v}."),
        ("What must never be served to {n}?", "Which food makes {n} ill?", "What is dangerous for {n} to eat?"),
        ("peanuts", "shellfish", "strawberries", "sesame", "walnuts", "celery", "mustard", "kiwis"),
    ),
    Family(
        ("{n} owns a {v}.", "At home {n} keeps a {v}."),
        ("Which animal belongs to {n}?", "What pet does {n} have?", "Which creature does {n} look after?"),
        ("parrot", "greyhound", "Siamese cat", "tortoise", "ferret", "poodle", "rabbit", "canary"),
    ),
    Family(
        ("{n} plays the {v}.", "{n} has taken lessons on the {v} for years."),
        ("Which musical instrument can {n} perform on?", "What would {n} bring to an orchestra?",
         "With what does {n} make music?"),
        ("cello", "trombone", "harp", "oboe", "banjo", "accordion", "clarinet", "drums"),
    ),
    Family(
        ("{n} drives a {v}.", "In front of the house of {n} stands a {v}."),
        ("What vehicle does {n} use?", "Which car is it that {n} has?", "How does {n} get around?"),
        ("red Volvo", "blue Fiat", "white van", "grey Tesla", "green Jeep", "yellow scooter", "black Audi", "old Saab"),
    ),
    Family(
        ("{n} was born in {v}.", "{n} came into the world in {v}."),
        ("How old is {n}?", "When is the birthday of {n}?", "What is the age of {n}?"),
        ("March 1971", "June 1984", "October 1990", "May 1965", "August 1999", "May 1978", "July 1988", "April 1993"),
    ),
    Family(
        ("{n} drinks {v} every morning.", "The first thing that {n} has after waking is {v}."),
        ("What is the favourite beverage of {n} at breakfast?", "What shall I pour for {n} when the day starts?",
         "Which refreshment does {n} begin with?"),
        ("green tea", "black coffee", "orange juice", "hot chocolate", "oat milk", "mate", "espresso", "lemon water"),
    ),
    Family(
        ("{n} is married to {v}.", "The wedding of {n} and {v} was last spring."),
        ("Who is the spouse of {n}?", "What is the husband or wife of {n} called?", "Whom has {n} chosen as partner?"),
        ("Robin", "Sasha", "Kim", "Alex", "Charlie", "Jamie", "Morgan", "Taylor"),
    ),
    Family(
        ("{n} is afraid of {v}.", "{n} panics at the thought of {v}."),
        ("What phobia does {n} suffer from?", "What frightens {n} most?", "Which thing scares {n}?"),
        ("spiders", "flying", "heights", "the dark", "deep water", "needles", "crowds", "thunder"),
    ),
    Family(
        ("{n} studied {v} at university.", "{n} holds a degree in {v}."),
        ("Which academic subject did {n} learn?", "What did {n} major in?", "In what field was {n} educated?"),
        ("chemistry", "philosophy", "economics", "linguistics", "astronomy", "history", "architecture", "medicine"),
    ),
    Family(
        ("{n} spends weekends {v}.", "On Saturdays {n} can be found {v}."),
        ("What is the hobby of {n}?", "How does {n} relax in spare time?", "What leisure activity does {n} enjoy?"),
        ("sailing", "rock climbing", "baking", "birdwatching", "mending clocks", "gardening", "fencing", "chess"),
    ),
)  # fmt: skip
_PROJECTS = (
    Family(
        ("Project {n} is written in {v}.", "The code of project {n} is all {v}."),
        ("Which programming language was chosen for {n}?", "What must a developer know to hack on {n}?",
         "In what syntax is the source of {n}?"),
        ("Rust", "Kotlin", "Elixir", "Haskell", "Fortran", "Python", "Go", "Scala"),
    ),
    Family(
        ("Project {n} keeps its records in {v}.", "All rows of project {n} are stored in {v}."),
        ("Which database backs {n}?", "Where does the persistent data of {n} live?",
         "What persistence engine does {n} rely on?"),
        ("PostgreSQL", "SQLite", "Cassandra", "MongoDB", "DynamoDB", "MariaDB", "Redis", "ClickHouse"),
    ),
    Family(
        ("Project {n} ships every {v}.", "A new version of project {n} comes out each {v}."),
        ("What is the release cadence of {n}?", "How often is {n} deployed?", "When do users of {n} get updates?"),
        ("Monday", "fortnight", "quarter", "Thursday", "night", "month", "spring", "Friday"),
    ),
    Family(
        ("Project {n} is paid for by {v}.", "The bills of project {n} go to {v}."),
        ("Who funds {n}?", "Whose budget covers {n}?", "Which sponsor finances {n}?"),
        ("the marketing department", "the city council", "a Dutch bank", "the research lab", "two donors",
         "the railway company", "the hospital trust", "the board"),
    ),
    Family(
        ("Project {n} fails whenever {v}.", "Project {n} goes down if {v}."),
        ("What causes outages of {n}?", "Why does {n} crash?", "What is the known weakness of {n}?"),
        ("the clock is changed", "the disk is full", "the queue backs up", "a certificate expires", "DNS is slow",
         "memory runs out", "the proxy restarts", "two jobs overlap"),
    ),
    Family(
        ("Project {n} runs on {v}.", "The machines of project {n} are {v}."),
        ("What infrastructure hosts {n}?", "On which hardware or cloud is {n} deployed?",
         "Which servers does {n} need?"),
        ("three Raspberry Pis", "AWS Lambda", "a mainframe", "Hetzner boxes", "an old laptop", "Kubernetes",
         "Azure", "bare metal in Oslo"),
    ),
    Family(
        ("Project {n} was begun because {v}.", "The reason for project {n} was that {v}."),
        ("What motivated {n}?", "Why does {n} exist at all?", "Which problem led to the creation of {n}?"),
        ("invoices got lost", "the vendor closed", "customers waited too long", "an audit failed",
         "reports were late", "a law changed", "spreadsheets broke", "nobody answered the phone"),
    ),
    Family(
        ("Only {v} may merge into project {n}.", "Changes of project {n} need the yes of {v}."),
        ("Who approves pull requests for {n}?", "Which reviewer signs off on {n}?", "Who is the gatekeeper of {n}?"),
        ("the security team", "two seniors", "the intern", "the architect", "Marta", "the founders", "QA", "ops"),
    ),
    Family(
        ("Project {n} must be finished by {v}.", "For project {n} time is up in {v}."),
        ("What is the deadline of {n}?", "When is {n} due?", "Until which date has {n} to be delivered?"),
        ("late March", "mid June", "early May", "the end of August", "October", "Christmas", "next Easter", "November"),
    ),
    Family(
        ("Project {n} has {v} people on it.", "The staff of project {n} is {v} strong."),
        ("How big is the team of {n}?", "What is the headcount of {n}?", "How many developers build {n}?"),
        ("two", "four", "seven", "eleven", "fifteen", "twenty", "thirty-one", "sixty"),
    ),
)  # fmt: skip


def made(people: int = 500, projects: int = 400, questions: int = 500, *, seed: int = SEED) -> Set:
    """`people` × 12 + `projects` × 10 facts, in random order, and so many questions about different ones."""
    chance = random.Random(seed)
    names = [f"{first} {last}" for first in _FIRST for last in _LAST]
    titles = [f"{shade.title()} {beast.title()}" for shade in _SHADES for beast in _BEASTS]
    rows = [
        (family, name)
        for families, known, count in ((_PEOPLE, names, people), (_PROJECTS, titles, projects))
        for name in _many(known, count, chance)
        for family in families
    ]
    chance.shuffle(rows)
    facts = [_fill(chance.choice(family.says), name, chance.choice(family.values)) for family, name in rows]
    asked = chance.sample(range(len(rows)), questions)
    return Set(facts, [Question(_fill(chance.choice(rows[at][0].asks), rows[at][1], ""), at) for at in asked])


def shared_words() -> set[str]:
    """Content words that a question shares with a fact of its family: none, but for little ones."""
    little = set(
        "a all an and are as at be by did do does each every for from gets has have how i if in into is it of on or the"
        " to was were what when where which who whom whose why will with may must project".split()
    )
    found: set[str] = set()
    for family in (*_PEOPLE, *_PROJECTS):
        said = {word for one in (*family.says, *family.values) for word in _words(one)}
        found |= {word for one in family.asks for word in _words(one)} & said - little
    return found


def _many(known: list[str], count: int, chance: random.Random) -> list[str]:
    """Beyond those that there are, numbered ones."""
    drawn = chance.sample(known, min(count, len(known)))
    return drawn + [f"{known[at % len(known)]} {at // len(known) + 2}" for at in range(count - len(drawn))]


def _fill(template: str, name: str, value: str) -> str:
    return template.replace("{n}", name).replace("{v}", value)


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.replace("{n}", "").replace("{v}", "").lower())
