"""A small catalogue of well-known films, books and things, as a shop would describe them."""

from __future__ import annotations

from millstream.schemas.records import Item

_SAID = """
m1 | Toy Story | Animation, Children's, Comedy | A cowboy doll is jealous of a new spaceman toy.
m2 | Star Wars | Action, Adventure, Sci-Fi | A farm boy joins rebels against a galactic empire and its death star.
m3 | The Empire Strikes Back | Action, Adventure, Sci-Fi | The rebels flee; the boy learns who his father is.
m4 | Alien | Horror, Sci-Fi, Thriller | A spaceship's crew is hunted by a deadly creature.
m5 | 2001: A Space Odyssey | Sci-Fi | Slow, quiet science fiction about a voyage to Jupiter and a thinking computer.
m6 | Solaris | Sci-Fi, Drama | Slow, meditative science fiction on a space station above an ocean planet.
m7 | Die Hard | Action, Thriller | A policeman fights terrorists in a skyscraper, with guns and explosions.
m8 | The Terminator | Action, Sci-Fi | A killing machine from the future; car chases, guns and explosions.
m9 | Sleepless in Seattle | Comedy, Romance | A widower's son calls a radio show to find him a new wife.
m10 | When Harry Met Sally | Comedy, Romance | Can a man and a woman be friends without falling in love?
m11 | Four Weddings and a Funeral | Comedy, Romance | An Englishman keeps meeting an American at weddings.
m12 | The Silence of the Lambs | Thriller, Crime | A young agent asks a cannibal for help to catch a murderer.
m13 | Schindler's List | Drama, War | A businessman saves Jews from the Holocaust.
m14 | The Godfather | Crime, Drama | The head of a mafia family hands his empire to his reluctant son.
m15 | Pulp Fiction | Crime, Drama | Hit men, a boxer and robbers in Los Angeles, out of order.
m16 | The Princess Bride | Adventure, Comedy, Romance | A fairy tale of fencing, giants, revenge and true love.
m17 | Psycho | Horror, Thriller | A secretary who stole money stops at a lonely motel.
m18 | The Shining | Horror | A writer goes mad in an empty hotel in winter.
m19 | The Lion King | Animation, Children's, Musical | A lion cub grows up to take his father's place.
m20 | Beauty and the Beast | Animation, Children's, Musical | A girl comes to love an enchanted prince.
m21 | Wallace & Gromit: The Best of Aardman Animation | Animation | An inventor and his dog, in clay.
m22 | Amélie | Comedy, Romance | Une jeune femme à Montmartre décide d'aider les autres.
m23 | Das Boot | War, Drama | The crew of a German submarine in the Second World War.
m24 | Jaws | Thriller, Horror | A great white shark frightens a seaside town.
m25 | Dances with Wolves | Western, Drama | A soldier makes friends with the Lakota on the frontier.
m26 | The Good, the Bad and the Ugly | Western | Three gunmen look for buried gold.
m27 | No Country for Old Men | Crime, Thriller | A hunter finds money, and a killer finds him.
m28 | Some Like It Hot | Comedy | Two musicians hide from gangsters in a women's band.
b1 | Pride and Prejudice | Books, Romance | Elizabeth Bennet and the proud Mr Darcy.
b2 | Moby-Dick | Books, Adventure | A captain hunts the white whale that took his leg.
b3 | Dune | Books, Sci-Fi | A young duke among the people of a desert planet.
b4 | The Hobbit | Books, Fantasy | A hobbit goes with dwarves to win a treasure from a dragon.
b5 | A Brief History of Time | Books, Science | Black holes and the big bang, for everyone.
b6 | The Joy of Cooking | Books, Cooking | Recipes for home cooks.
s1 | Leather hiking boots | Shoes, Outdoor | Warm, waterproof boots for winter hikes in the mountains.
s2 | Running shoes | Shoes, Sport | Light shoes for the road.
s3 | Down jacket | Clothing, Outdoor | A warm winter jacket with a hood.
s4 | Cast-iron frying pan | Kitchen | For frying and baking, heavy, lasts for ever.
s5 | Espresso machine | Kitchen | Makes coffee with milk foam.
s6 | Wool socks | Clothing | Soft and warm socks.
"""
ITEMS = [
    Item(item_id=item_id, title=title, categories=categories.split(", "), text=text)
    for item_id, title, categories, text in (line.split(" | ") for line in _SAID.strip().splitlines())
]
TITLES = {item.item_id: item.title for item in ITEMS}
CATEGORIES = {item.item_id: item.categories for item in ITEMS}
