"""A second held-out set of questions of the first hour, about folders like examples/trip: written before the prompt was
shortened and the check of answers was changed, and run only to report."""

from __future__ import annotations

from bench.evals.task import TRIP, Task, absent, chat, clock, fact, paraphrase, sum_of

_HIKE = {
    "costs.csv": "item,pounds\nbus,14\nhut,55\nmap,9\nfood,38\n",
    "plan.md": (
        "# Two days on the ridge\n\n| when | what |\n| --- | --- |\n"
        "| Saturday 07:50 | bus from the old station, bay 6 |\n| Saturday 12:30 | lunch at Corrie spring |\n"
        "| Saturday 17:00 | arrive at the hut |\n| Sunday 09:15 | cross the north ridge |\n"
        "| Sunday 15:40 | bus home |\n"
    ),
    "rucksack.txt": "stove and gas\nfirst aid kit (Hamish carries it)\nhut key (ask Morag)\nhead torches\n",
}
_PARTY = {
    "guests.csv": "name,food\nYusuf,vegetarian\nPetra,fish\nLeo,anything\n",
    "schedule.txt": "18:00 doors open\n19:30 cake\n21:00 dancing in the barn\n23:30 taxi to town\n",
    "shopping.md": (
        "# Shopping\n\n- candles (Petra brings them)\n- lemonade, 12 bottles\n- loudspeaker: borrow from Leo\n"
    ),
}

TASKS: tuple[Task, ...] = (
    paraphrase("fresh-para-hold-of", "Who has got hold of our train tickets?", TRIP, "Ann"),
    paraphrase("fresh-para-where", "Where are the train tickets? Who has them?", TRIP, "Ann"),
    paraphrase("fresh-para-bring", "Who is bringing the train tickets?", TRIP, "Ann"),
    paraphrase("fresh-para-look-up", "Could you look up who has the train tickets?", TRIP, "Ann"),
    paraphrase("fresh-para-first-aid", "Who has the first aid kit?", _HIKE, "Hamish"),
    paraphrase("fresh-para-turn-to", "I forgot the hut key. Who do I turn to?", _HIKE, "Morag"),
    paraphrase("fresh-para-candles", "Who is taking care of the candles?", _PARTY, "Petra"),
    paraphrase("fresh-para-speaker", "From whom can we borrow a loudspeaker?", _PARTY, "Leo"),
    fact("fresh-fact-bus", "What time does the bus leave on Saturday?", _HIKE, r"7[:.]50"),
    fact("fresh-fact-bay", "From which bay does our bus leave?", _HIKE, r"\b6\b|six"),
    fact("fresh-fact-hut", "How much is the hut?", _HIKE, r"\b55\b"),
    fact("fresh-fact-cake", "What time is the cake?", _PARTY, r"19[:.]30|7[:.]30"),
    fact("fresh-fact-vegetarian", "Which guest is vegetarian?", _PARTY, "Yusuf"),
    fact("fresh-fact-boat-price", "What do we pay for the boat tour?", TRIP, r"\b18\b"),
    absent("fresh-absent-tent", "Who carries the tent?", _HIKE),
    absent("fresh-absent-dinner", "What time is dinner on Sunday?", _HIKE),
    absent("fresh-absent-sunscreen", "Who has the sunscreen?", TRIP),
    absent("fresh-absent-band", "Which band plays at the party?", _PARTY),
    absent("fresh-absent-address", "I need the address of the barn. Who can give it to me?", _PARTY),
    absent("fresh-absent-insurance", "What is the number of our travel insurance?", TRIP),
    chat("fresh-chat-moon", "Who was the first person on the moon?", TRIP, "Armstrong"),
    chat("fresh-chat-french", "What is the French word for 'ticket'?", TRIP, "billet|ticket"),
    chat("fresh-chat-bye", "Good night, see you tomorrow!", _HIKE, "night|see you|bye|tomorrow|welcome"),
    clock("fresh-clock-now", "What's the time right now?", _PARTY, r"\d?\d:\d\d"),
    sum_of("fresh-sum-guests", "What is 12 times 18?", _PARTY, 216),
)
