"""What a reason is called in each language: a phrase a group of signals, and how phrases become a sentence.

A phrase begins in lower case and says no more than the part of the score that it stands for. `naming` has those that
name the item which the part comes from, `{title}` with its quotation marks; `plain` those that name none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

GENERAL = "general"
"""What the group `popular` is called on a list of somebody's own. There the part also holds what belongs to no signal,
so it says that the item is thought to suit many, and not that many chose it (docs/decisions/0031)."""
DEFAULT = "en"


class Phrases(NamedTuple):
    """One language's."""

    quotes: tuple[str, str]
    """What stands before and after a title."""
    naming: Mapping[str, str]
    """Group to the phrase with `{title}`; of the groups that have an item to name."""
    plain: Mapping[str, str]
    """Group to the phrase without; of every group, and of `GENERAL`."""
    both: str
    """Two reasons, `{first}` and `{second}`."""
    trial: str
    """An item that chance put there, with its `{reason}`."""
    change: str
    """The same where nothing speaks for the item."""
    neutral: str
    """An item of which neither good nor bad is to be said."""


PHRASES: Mapping[str, Phrases] = {
    "en": Phrases(
        quotes=("“", "”"),
        naming={
            "together": "often chosen with {title}",
            "content": "like {title}, by its description",
            "taste": "suits your taste, going by {title}",
            "alike": "much like {title}, higher up this list",
        },
        plain={
            "popular": "popular right now",
            "general": "suits many people",
            "trending": "in demand at the moment",
            "together": "often chosen with what you chose",
            "yours": "you have chosen it before",
            "taste": "suits your taste",
            "content": "its description speaks for it",
            "asked": "close to what you asked for",
            "price": "priced above the average",
            "dismissed": "you put it aside",
            "ignored": "shown to you before and passed over",
            "alike": "much like another one higher up this list",
        },
        both="{first}; {second}",
        trial="something to try: {reason}",
        change="something else for a change",
        neutral="also to choose from",
    ),
    "de": Phrases(
        quotes=("„", "“"),
        naming={
            "together": "oft zusammen mit {title} gewählt",
            "content": "laut Beschreibung ähnlich wie {title}",
            "taste": "passt zu Ihrem Geschmack, gemessen an {title}",
            "alike": "sehr ähnlich wie {title} weiter oben in der Liste",
        },
        plain={
            "popular": "zurzeit beliebt",
            "general": "passt für viele",
            "trending": "im Moment gefragt",
            "together": "oft zusammen mit dem gewählt, was Sie gewählt haben",
            "yours": "von Ihnen schon einmal gewählt",
            "taste": "passt zu Ihrem Geschmack",
            "content": "die Beschreibung spricht dafür",
            "asked": "nah an dem, was Sie gesucht haben",
            "price": "teurer als der Durchschnitt",
            "dismissed": "von Ihnen beiseitegelegt",
            "ignored": "Ihnen schon gezeigt und nicht gewählt",
            "alike": "sehr ähnlich wie etwas weiter oben in der Liste",
        },
        both="{first}; {second}",
        trial="ein Versuch: {reason}",
        change="zur Abwechslung etwas anderes",
        neutral="auch zur Auswahl",
    ),
    "fr": Phrases(
        quotes=("«\N{NO-BREAK SPACE}", "\N{NO-BREAK SPACE}»"),
        naming={
            "together": "souvent choisi avec {title}",
            "content": "proche de {title} par sa description",
            "taste": "à votre goût, à en juger par {title}",
            "alike": "très proche de {title}, plus haut dans la liste",
        },
        plain={
            "popular": "populaire en ce moment",
            "general": "convient à beaucoup de monde",
            "trending": "demandé en ce moment",
            "together": "souvent choisi avec ce que vous avez choisi",
            "yours": "déjà choisi par vous",
            "taste": "à votre goût",
            "content": "sa description parle en sa faveur",
            "asked": "proche de ce que vous avez demandé",
            "price": "plus cher que la moyenne",
            "dismissed": "mis de côté par vous",
            "ignored": "déjà montré sans être choisi",
            "alike": "très proche d’un autre, plus haut dans la liste",
        },
        both="{first}\N{NARROW NO-BREAK SPACE}; {second}",
        trial="à essayer\N{NO-BREAK SPACE}: {reason}",
        change="autre chose, pour changer",
        neutral="également au choix",
    ),
    "es": Phrases(
        quotes=("«", "»"),
        naming={
            "together": "suele elegirse con {title}",
            "content": "parecido a {title} según su descripción",
            "taste": "acorde con tus gustos, a juzgar por {title}",
            "alike": "muy parecido a {title}, más arriba en la lista",
        },
        plain={
            "popular": "popular en este momento",
            "general": "adecuado para mucha gente",
            "trending": "solicitado en este momento",
            "together": "suele elegirse con lo que has elegido",
            "yours": "ya lo has elegido antes",
            "taste": "acorde con tus gustos",
            "content": "su descripción habla a su favor",
            "asked": "cercano a lo que has pedido",
            "price": "más caro que la media",
            "dismissed": "lo dejaste a un lado",
            "ignored": "ya mostrado y no elegido",
            "alike": "muy parecido a otro, más arriba en la lista",
        },
        both="{first}; {second}",
        trial="para probar: {reason}",
        change="algo distinto, para variar",
        neutral="también para elegir",
    ),
    "pt": Phrases(
        quotes=("“", "”"),
        naming={
            "together": "muitas vezes escolhido com {title}",
            "content": "parecido com {title}, pela descrição",
            "taste": "combina com o seu gosto, a julgar por {title}",
            "alike": "muito parecido com {title}, mais acima na lista",
        },
        plain={
            "popular": "popular neste momento",
            "general": "adequado para muita gente",
            "trending": "procurado neste momento",
            "together": "muitas vezes escolhido com o que você escolheu",
            "yours": "já escolhido por você",
            "taste": "combina com o seu gosto",
            "content": "a descrição fala a favor",
            "asked": "próximo do que você pediu",
            "price": "mais caro do que a média",
            "dismissed": "deixado de lado por você",
            "ignored": "já mostrado e não escolhido",
            "alike": "muito parecido com outro, mais acima na lista",
        },
        both="{first}; {second}",
        trial="para experimentar: {reason}",
        change="algo diferente, para variar",
        neutral="também à escolha",
    ),
    "it": Phrases(
        quotes=("«", "»"),
        naming={
            "together": "spesso scelto insieme a {title}",
            "content": "simile a {title} secondo la descrizione",
            "taste": "in linea con i tuoi gusti, a giudicare da {title}",
            "alike": "molto simile a {title}, più in alto nella lista",
        },
        plain={
            "popular": "popolare in questo momento",
            "general": "adatto a molti",
            "trending": "richiesto in questo momento",
            "together": "spesso scelto insieme a ciò che hai scelto",
            "yours": "già scelto da te",
            "taste": "in linea con i tuoi gusti",
            "content": "la descrizione parla a suo favore",
            "asked": "vicino a ciò che hai chiesto",
            "price": "più caro della media",
            "dismissed": "messo da parte da te",
            "ignored": "già mostrato e non scelto",
            "alike": "molto simile a un altro, più in alto nella lista",
        },
        both="{first}; {second}",
        trial="da provare: {reason}",
        change="qualcosa di diverso, per cambiare",
        neutral="anche questo tra le scelte",
    ),
    "nl": Phrases(
        quotes=("“", "”"),
        naming={
            "together": "vaak samen met {title} gekozen",
            "content": "lijkt volgens de beschrijving op {title}",
            "taste": "past bij uw smaak, afgaande op {title}",
            "alike": "lijkt sterk op {title}, hoger in de lijst",
        },
        plain={
            "popular": "populair op dit moment",
            "general": "geschikt voor velen",
            "trending": "gewild op dit moment",
            "together": "vaak gekozen samen met wat u koos",
            "yours": "al eerder door u gekozen",
            "taste": "past bij uw smaak",
            "content": "de beschrijving spreekt ervoor",
            "asked": "dicht bij wat u vroeg",
            "price": "duurder dan gemiddeld",
            "dismissed": "door u opzijgelegd",
            "ignored": "al getoond en niet gekozen",
            "alike": "lijkt sterk op iets hoger in de lijst",
        },
        both="{first}; {second}",
        trial="om te proberen: {reason}",
        change="eens iets anders",
        neutral="ook een keuze",
    ),
    "pl": Phrases(
        quotes=("„", "”"),
        naming={
            "together": "często wybierane razem z {title}",
            "content": "według opisu podobne do {title}",
            "taste": "w Twoim guście, sądząc po {title}",
            "alike": "bardzo podobne do {title} wyżej na liście",
        },
        plain={
            "popular": "popularne w tej chwili",
            "general": "odpowiada wielu osobom",
            "trending": "poszukiwane w tej chwili",
            "together": "często wybierane razem z tym, co już wybrano",
            "yours": "już kiedyś przez Ciebie wybrane",
            "taste": "w Twoim guście",
            "content": "przemawia za tym opis",
            "asked": "bliskie temu, o co Ci chodzi",
            "price": "droższe niż średnia",
            "dismissed": "odłożone przez Ciebie na bok",
            "ignored": "już pokazane i niewybrane",
            "alike": "bardzo podobne do innej pozycji wyżej na liście",
        },
        both="{first}; {second}",
        trial="na próbę: {reason}",
        change="coś innego dla odmiany",
        neutral="również do wyboru",
    ),
    "ja": Phrases(
        quotes=("「", "」"),
        naming={
            "together": "{title}とよく一緒に選ばれています",
            "content": "説明が{title}に似ています",
            "taste": "{title}から見て、お好みに合いそうです",
            "alike": "リストの上にある{title}によく似ています",
        },
        plain={
            "popular": "現在人気があります",
            "general": "多くの人に向いています",
            "trending": "今よく選ばれています",
            "together": "お選びになったものとよく一緒に選ばれています",
            "yours": "以前に選ばれたものです",
            "taste": "お好みに合いそうです",
            "content": "説明の内容が合っています",
            "asked": "お求めのものに近い内容です",
            "price": "平均より高い価格です",
            "dismissed": "以前に除けられたものです",
            "ignored": "以前に表示され、選ばれませんでした",
            "alike": "リストの上にある別のものによく似ています",
        },
        both="{first}。また、{second}",
        trial="お試しに：{reason}",
        change="たまには違うものを",
        neutral="こちらも選べます",
    ),
    "zh": Phrases(
        quotes=("“", "”"),
        naming={
            "together": "常与{title}一起被选择",
            "content": "从描述看与{title}相似",
            "taste": "从{title}来看，符合您的口味",
            "alike": "与列表上方的{title}非常相似",
        },
        plain={
            "popular": "目前很受欢迎",
            "general": "适合很多人",
            "trending": "近期常被选择",
            "together": "常与您选择过的一起被选择",
            "yours": "您以前选择过",
            "taste": "符合您的口味",
            "content": "从描述看合适",
            "asked": "接近您想要的",
            "price": "价格高于平均",
            "dismissed": "您曾将其搁置",
            "ignored": "曾展示但未被选择",
            "alike": "与列表上方的另一项非常相似",
        },
        both="{first}；{second}",
        trial="不妨一试：{reason}",
        change="换换口味",
        neutral="也可供选择",
    ),
}
"""By language: the primary subtag of its tag (ISO 639)."""
LANGUAGES = tuple(PHRASES)
