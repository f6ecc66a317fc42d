"""The words that the guard reads, by language: numbers and negations. Tables, no rules.

Words stand as `lexical.normal_form` leaves them: case-folded, with plain apostrophes.
"""
# ruff: noqa: RUF001  # other scripts' letters are what these tables are about

SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}

# Worth and word. "two hundred and five" is put together in English only; elsewhere each word of a
# number counts by itself, which tells numbers apart as well but does not know 305 in words.
_NUMBERS = {
    "en": "0 zero 1 one 2 two 3 three 4 four 5 five 6 six 7 seven 8 eight 9 nine 10 ten 11 eleven "
    "12 twelve 13 thirteen 14 fourteen 15 fifteen 16 sixteen 17 seventeen 18 eighteen 19 nineteen "
    "20 twenty 30 thirty 40 forty 50 fifty 60 sixty 70 seventy 80 eighty 90 ninety 12 dozen "
    "1 first 2 second 3 third 4 fourth 5 fifth 6 sixth 7 seventh 8 eighth 9 ninth 10 tenth "
    "11 eleventh 12 twelfth 13 thirteenth 14 fourteenth 15 fifteenth 16 sixteenth 17 seventeenth "
    "18 eighteenth 19 nineteenth 20 twentieth 30 thirtieth 40 fortieth 50 fiftieth 60 sixtieth "
    "70 seventieth 80 eightieth 90 ninetieth",
    "de": "0 null 1 eins 2 zwei 3 drei 4 vier 5 fünf 6 sechs 7 sieben 8 acht 9 neun 10 zehn "
    "12 zwölf 13 dreizehn 14 vierzehn 15 fünfzehn 16 sechzehn 17 siebzehn 18 achtzehn 19 neunzehn "
    "20 zwanzig 30 dreissig 40 vierzig 50 fünfzig 60 sechzig 70 siebzig 80 achtzig "
    "90 neunzig 100 hundert 1000 tausend 12 dutzend",
    "fr": "2 deux 3 trois 4 quatre 5 cinq 7 sept 8 huit 9 neuf 10 dix 11 onze 12 douze 13 treize "
    "14 quatorze 15 quinze 16 seize 20 vingt 30 trente 40 quarante 50 cinquante 60 soixante",
    "es": "2 dos 3 tres 4 cuatro 5 cinco 6 seis 7 siete 8 ocho 10 diez 12 doce 13 trece "
    "14 catorce 15 quince 20 veinte 30 treinta 40 cuarenta 50 cincuenta 60 sesenta 100 cien",
    "it": "3 tre 4 quattro 5 cinque 7 sette 8 otto 9 nove 10 dieci 11 undici 12 dodici "
    "15 quindici 20 venti 30 trenta 100 cento",
    "pt": "2 dois 2 duas 3 três 4 quatro 7 sete 8 oito 10 dez 20 vinte 30 trinta 40 quarenta "
    "50 cinquenta 60 sessenta 100 cem",
    "nl": "2 twee 3 drie 4 vier 5 vijf 6 zes 7 zeven 9 negen 10 tien 12 twaalf 15 vijftien "
    "20 twintig 30 dertig 40 veertig 50 vijftig",
    "pl": "2 dwa 2 dwie 3 trzy 4 cztery 5 pięć 6 sześć 7 siedem 8 osiem",
    "ru": "2 два 2 две 3 три 4 четыре 5 пять 6 шесть 7 семь 8 восемь 9 девять 10 десять "
    "20 двадцать 30 тридцать 40 сорок 100 сто",
}
_GERMAN_UNITS = "1 ein 2 zwei 3 drei 4 vier 5 fünf 6 sechs 7 sieben 8 acht 9 neun"
_GERMAN_TENS = (
    "20 zwanzig 30 dreissig 40 vierzig 50 fünfzig 60 sechzig 70 siebzig 80 achtzig 90 neunzig"
)

# Numbers in one language, other words or other numbers in the next: each counts as itself alone.
_ITSELF = (
    "once twice thrice half quarter double both couple several cent cents mille mil due sei nueve "
    "elf demi media halb doppelt zweimal einmal"
)

_NEGATIONS = {
    # "stopped" says "no longer", "dislikes" says "does not like".
    "en": "not no never none nobody nothing nowhere neither nor cannot without non nope nay "
    "stop stops stopped stopping quit quits quitting cease ceases ceased dislike dislikes disliked "
    "lack lacks lacked except refuse refuses refused",
    "de": "nicht nichts kein keine keinen keinem keiner keines nie niemals niemand niemanden "
    "niemandem nirgends nirgendwo ohne weder nein",
    "nl": "niet niets geen nooit niemand nergens zonder nee",
    "fr": "ne pas jamais rien aucun aucune sans ni",
    "es": "nunca jamás nada nadie ningún ninguno ninguna ningunos ningunas sin tampoco",
    "it": "mai niente nulla nessun nessuno nessuna senza né mica",
    "pt": "não nao ninguém nenhum nenhuma sem nem tampouco",
    "sv da no": "inte ingen inget inga aldrig utan ej ikke ikkje ingenting aldri uten uden",
    "fi hu": "ei eivät älä ilman koskaan nincs soha nélkül",
    "pl cs": "nigdy bez żaden żadna żadne nikt nic nikdy není",
    "tr": "değil yok hiç asla",
    "id vi ko": "tidak bukan belum jangan tanpa không chưa chẳng đừng 안 못",
    "ru uk": "не нет ни никогда без никто ничего нельзя ні немає ніколи",
    "el": "δεν δε μη μην όχι ποτέ χωρίς",
    "ar fa": "لا لم لن ليس ليست غير بدون نه نیست",
    "he": "לא אין בלי ללא",
    "hi": "नहीं मत ना बिना",
}
# Scripts without spaces, and endings: counted wherever they stand.
_NEGATIONS_ANYWHERE = "不 没 沒 無 无 非 未 別 别 勿 ない なかった ません 않 없 아니 말고 ไม่"

# Less than always, more than never: neither the same as a negation nor as none.
_RARELY = "hardly rarely seldom barely scarcely selten kaum raramente rarement"


def _worths(table: str) -> dict[str, int]:
    words = table.split()
    return {word: int(worth) for worth, word in zip(words[::2], words[1::2], strict=True)}


NUMBERS = {word: worth for table in _NUMBERS.values() for word, worth in _worths(table).items()} | {
    f"{unit}und{ten}": tens + units
    for ten, tens in _worths(_GERMAN_TENS).items()
    for unit, units in _worths(_GERMAN_UNITS).items()
}
ITSELF = frozenset(_ITSELF.split())
NEGATIONS = frozenset(word for words in _NEGATIONS.values() for word in words.casefold().split())
NEGATIONS_ANYWHERE = tuple(_NEGATIONS_ANYWHERE.split())
RARELY = frozenset(_RARELY.split())

CJK_DIGITS = {digit: worth for worth, digit in enumerate("零一二三四五六七八九")} | {
    "〇": 0,
    "两": 2,
    "兩": 2,
}
CJK_SCALES = {"十": 10, "百": 100, "千": 1000, "万": 10**4, "萬": 10**4, "億": 10**8, "亿": 10**8}
