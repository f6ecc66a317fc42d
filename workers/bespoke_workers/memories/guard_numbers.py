"""The number words that the guard reads, by language. Tables, and how words are joined.

Words stand as `lexical.normal_form` leaves them: case-folded, with plain apostrophes.
"""
# ruff: noqa: RUF001  # other scripts' letters are what these tables are about

import re

SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
# In German, Dutch and Italian they stand inside of a word: "hundertfünf", "tweehonderd".
_JOINED_SCALES = {
    "tausend": 1000,
    "duizend": 1000,
    "mila": 1000,
    "hundert": 100,
    "honderd": 100,
    "cento": 100,
}
_THOUSANDS, _HUNDREDS = re.compile("tausend|duizend|mila"), re.compile("hundert|honderd|cento")

# Worth and word. Larger numbers are put together of tens and units ("treinta y dos"), and in
# English, German, Dutch and Italian of hundreds and thousands too; elsewhere each word counts by
# itself, which tells numbers apart as well but does not know 305 in words.
_NUMBERS = {
    "en": "0 zero 1 one 2 two 3 three 4 four 5 five 6 six 7 seven 8 eight 9 nine 10 ten 11 eleven "
    "12 twelve 13 thirteen 14 fourteen 15 fifteen 16 sixteen 17 seventeen 18 eighteen 19 nineteen "
    "20 twenty 30 thirty 40 forty 50 fifty 60 sixty 70 seventy 80 eighty 90 ninety 12 dozen "
    "1 first 2 second 3 third 4 fourth 5 fifth 6 sixth 7 seventh 8 eighth 9 ninth 10 tenth "
    "11 eleventh 12 twelfth 13 thirteenth 14 fourteenth 15 fifteenth 16 sixteenth 17 seventeenth "
    "18 eighteenth 19 nineteenth 20 twentieth 30 thirtieth 40 fortieth 50 fiftieth 60 sixtieth "
    "70 seventieth 80 eightieth 90 ninetieth",
    "de": "0 null 1 eins 2 zwei 2 zwo 3 drei 4 vier 5 fünf 6 sechs 7 sieben 8 acht 9 neun 10 zehn "
    "12 zwölf 13 dreizehn 14 vierzehn 15 fünfzehn 16 sechzehn 17 siebzehn 18 achtzehn 19 neunzehn "
    "20 zwanzig 30 dreissig 40 vierzig 50 fünfzig 60 sechzig 70 siebzig 80 achtzig "
    "90 neunzig 100 hundert 1000 tausend 12 dutzend",
    "fr": "2 deux 3 trois 4 quatre 5 cinq 7 sept 8 huit 9 neuf 10 dix 11 onze 12 douze 13 treize "
    "14 quatorze 15 quinze 16 seize 20 vingt 30 trente 40 quarante 50 cinquante 60 soixante "
    "1 premier 1 première 2 deuxième 2 seconde 3 troisième 4 quatrième 5 cinquième 6 sixième "
    "7 septième 8 huitième 9 neuvième 10 dixième 12 douzaine 20 vingtaine",
    "es": "2 dos 3 tres 4 cuatro 5 cinco 6 seis 7 siete 8 ocho 10 diez 12 doce 13 trece "
    "14 catorce 15 quince 16 dieciséis 17 diecisiete 18 dieciocho 19 diecinueve 20 veinte "
    "21 veintiuno 21 veintiún 21 veintiuna 22 veintidós 23 veintitrés 24 veinticuatro "
    "25 veinticinco 26 veintiséis 27 veintisiete 28 veintiocho 29 veintinueve "
    "30 treinta 40 cuarenta 50 cincuenta 60 sesenta 70 setenta 80 ochenta 90 noventa 100 cien "
    "100 ciento 200 doscientos 200 doscientas 300 trescientos 300 trescientas 500 quinientos "
    "1 primer 1 primero 1 primera 2 segundo 2 segunda 3 tercer 3 tercero 3 tercera 4 cuarto "
    "4 cuarta 5 quinto 5 quinta 6 sexto 6 sexta 7 séptimo 7 séptima 8 octavo 8 octava 9 noveno "
    "9 novena 10 décimo 10 décima 12 docena",
    "it": "3 tre 4 quattro 5 cinque 7 sette 8 otto 9 nove 10 dieci 11 undici 12 dodici "
    "13 tredici 14 quattordici 15 quindici 16 sedici 17 diciassette 18 diciotto 19 diciannove "
    "20 venti 30 trenta 40 quaranta 50 cinquanta 60 sessanta 70 settanta 80 ottanta 90 novanta "
    "100 cento 1 primo 1 prima 2 secondo 2 seconda 3 terzo 3 terza 4 quarto 4 quarta 6 sesto "
    "6 sesta 7 settimo 7 settima 8 ottavo 8 ottava 9 nono 9 nona 10 decimo 10 decima 12 dozzina",
    "pt": "2 dois 2 duas 3 três 4 quatro 7 sete 8 oito 10 dez 13 treze 14 quatorze 16 dezesseis "
    "16 dezasseis 17 dezessete 17 dezassete 18 dezoito 19 dezenove 19 dezanove 20 vinte 30 trinta "
    "40 quarenta 50 cinquenta 60 sessenta 80 oitenta 100 cem 200 duzentos 200 duzentas "
    "1 primeiro 1 primeira 3 terceiro 3 terceira 3 terça 6 sétimo 8 oitavo 8 oitava 12 dúzia",
    "nl": "2 twee 3 drie 4 vier 5 vijf 6 zes 7 zeven 9 negen 10 tien 12 twaalf 13 dertien "
    "14 veertien 15 vijftien 16 zestien 17 zeventien 18 achttien 19 negentien "
    "20 twintig 30 dertig 40 veertig 50 vijftig 60 zestig 70 zeventig 80 tachtig 90 negentig "
    "100 honderd 1000 duizend 1 eerste 2 tweede 3 derde 4 vierde 5 vijfde 6 zesde 7 zevende "
    "8 achtste 9 negende 10 tiende 12 dozijn",
    "pl": "1 jeden 2 dwa 2 dwie 2 dwoje 3 trzy 4 cztery 5 pięć 6 sześć 7 siedem 8 osiem "
    "9 dziewięć 10 dziesięć 11 jedenaście 12 dwanaście 15 piętnaście 20 dwadzieścia "
    "30 trzydzieści 40 czterdzieści 50 pięćdziesiąt 100 sto 1 pierwszy 2 drugi 3 trzeci",
    "cs": "2 dva 2 dvě 3 tři 4 čtyři 5 pět 6 šest 7 sedm 8 osm 9 devět 10 deset 20 dvacet",
    "sv": "2 två 4 fyra 5 fem 7 sju 8 åtta 9 nio 10 tio 12 tolv 20 tjugo 30 trettio",
    "fi": "2 kaksi 3 kolme 4 neljä 5 viisi 6 kuusi 7 seitsemän 8 kahdeksan 9 yhdeksän 10 kymmenen",
    "tr": "2 iki 3 üç 4 dört 5 beş 6 altı 7 yedi 8 sekiz 9 dokuz 20 yirmi 30 otuz 40 kırk 50 elli",
    "el": "2 δύο 3 τρία 3 τρεις 4 τέσσερα 4 τέσσερις 5 πέντε 6 έξι 7 επτά 7 εφτά 8 οκτώ 8 οχτώ "
    "9 εννέα 9 εννιά 10 δέκα 20 είκοσι 30 τριάντα",
    "ru": "1 один 1 одна 1 одно 2 два 2 две 3 три 4 четыре 5 пять 6 шесть 7 семь 8 восемь "
    "9 девять 10 десять 11 одиннадцать 12 двенадцать 13 тринадцать 14 четырнадцать "
    "15 пятнадцать 16 шестнадцать 17 семнадцать 18 восемнадцать 19 девятнадцать "
    "20 двадцать 30 тридцать 40 сорок 50 пятьдесят 60 шестьдесят 70 семьдесят 80 восемьдесят "
    "90 девяносто 100 сто 200 двести 300 триста 2 двое 3 трое 2 двух 3 трёх 3 трех 4 четырёх "
    "5 пяти 6 шести 7 семи 8 восьми",
    "uk": "3 три 4 чотири 5 п'ять 6 шість 7 сім 8 вісім 9 дев'ять 10 десять 20 двадцять",
    "ar": "1 واحد 1 واحدة 2 اثنان 2 اثنين 2 اثنتان 2 اثنتين 3 ثلاثة 3 ثلاث 4 أربعة 4 أربع "
    "4 اربعة 5 خمسة 5 خمس 6 ستة 6 ست 7 سبعة 7 سبع 8 ثمانية 8 ثماني 9 تسعة 9 تسع 10 عشرة 10 عشر "
    "20 عشرون 20 عشرين 30 ثلاثون 30 ثلاثين 40 أربعون 40 أربعين 50 خمسون 50 خمسين 60 ستون "
    "60 ستين 70 سبعون 70 سبعين 80 ثمانون 80 ثمانين 90 تسعون 90 تسعين 100 مئة 100 مائة 1000 ألف",
    "he": "2 שניים 2 שתיים 2 שני 2 שתי 3 שלוש 3 שלושה 4 ארבע 4 ארבעה 5 חמש 5 חמישה 6 שישה 6 שש "
    "7 שבע 7 שבעה 8 שמונה 9 תשע 9 תשעה 10 עשר 10 עשרה 20 עשרים 30 שלושים",
    "hi": "2 दो 3 तीन 4 चार 5 पांच 5 पाँच 6 छह 6 छः 7 सात 8 आठ 9 नौ 10 दस 20 बीस 30 तीस 100 सौ",
    "ko": "1 하나 2 둘 2 두 3 셋 3 세 4 넷 4 네 5 다섯 6 여섯 7 일곱 8 여덟 9 아홉 10 열 "
    "20 스물 20 스무",
    "id": "2 dua 3 tiga 4 empat 5 lima 6 enam 7 tujuh 8 delapan 9 sembilan 10 sepuluh",
}
# Stems of ordinals, and the endings that they take.
_ORDINALS = (
    ("1 erst 2 zweit 3 dritt 4 viert 5 fünft 6 sechst 7 siebt 8 acht 9 neunt 10 zehnt 20 zwanzigst",
     "e en er es em"),
    ("1 перв 2 втор 4 четвёрт 4 четверт 5 пят 6 шест 7 седьм 8 восьм 9 девят 10 десят",
     "ый ой ая ое ого ом ому ую"),
    ("3 трет", "ий ья ье ьего ьем ьей ью"),
)  # fmt: skip
# Italian tens lose their vowel before "uno" and "otto"; Dutch units are joined by "en".
_ITALIAN_TENS = "20 vent 30 trent 40 quarant 50 cinquant 60 sessant 70 settant 80 ottant 90 novant"
_ITALIAN_UNITS = "1 uno 1 un 2 due 3 tré 3 tre 4 quattro 5 cinque 6 sei 7 sette 8 otto 9 nove"
_DUTCH_UNITS = "1 een 2 twee 3 drie 4 vier 5 vijf 6 zes 7 zeven 8 acht 9 negen"
_DUTCH_TENS = (
    "20 twintig 30 dertig 40 veertig 50 vijftig 60 zestig 70 zeventig 80 tachtig 90 negentig"
)
_GERMAN_UNITS = "1 ein 2 zwei 3 drei 4 vier 5 fünf 6 sechs 7 sieben 8 acht 9 neun"
_GERMAN_TENS = (
    "20 zwanzig 30 dreissig 40 vierzig 50 fünfzig 60 sechzig 70 siebzig 80 achtzig 90 neunzig"
)
_FRENCH_TEENS = (
    "10 dix 11 onze 12 douze 13 treize 14 quatorze 15 quinze 16 seize 17 dix-sept 18 dix-huit "
    "19 dix-neuf"
)
_FRENCH_UNITS = "1 un 1 une 2 deux 3 trois 4 quatre 5 cinq 6 six 7 sept 8 huit 9 neuf"

# Numbers in one language, other words or other numbers in the next: each counts as itself alone.
_ITSELF = (
    "once twice thrice half quarter double both couple several cent cents mille mil due sei nueve "
    "elf demi demie media medio media meia mezza mezzo halb halbe halben viertel kwart quart "
    "doppelt zweimal einmal dreimal quinta nona polovina половина пол"
)
LINKS = frozenset({"y", "e", "et"})
"""Between tens and units in Spanish, Portuguese and French."""
ONES = frozenset({"un", "une", "uno", "una", "um", "uma"})
"""Articles, and numbers only after tens: "vingt et un"."""


def _worths(table: str) -> dict[str, int]:
    words = table.upper().casefold().split()
    return {word: int(worth) for worth, word in zip(words[::2], words[1::2], strict=True)}


def _tens_and_units() -> dict[str, int]:
    """Return what German, Dutch and Italian write as one word."""
    joined = {
        f"{unit}und{ten}": tens + units
        for ten, tens in _worths(_GERMAN_TENS).items()
        for unit, units in _worths(_GERMAN_UNITS).items()
    }
    for ten, tens in _worths(_DUTCH_TENS).items():
        for unit, units in _worths(_DUTCH_UNITS).items():
            joined |= {f"{unit}{link}{ten}": tens + units for link in ("en", "ën")}
    for stem, tens in _worths(_ITALIAN_TENS).items():
        vowel = "i" if tens == 20 else "a"
        for unit, units in _worths(_ITALIAN_UNITS).items():
            joined[stem + ("" if unit[0] in "uo" else vowel) + unit] = tens + units
    return joined


def _ordinals() -> dict[str, int]:
    return {
        stem + ending: worth
        for stems, endings in _ORDINALS
        for stem, worth in _worths(stems).items()
        for ending in endings.split()
    }


def _french() -> dict[str, int]:
    """Return what French puts together of more than tens and units: 17 to 19 and 70 to 99."""
    teens, units = _worths(_FRENCH_TEENS), _worths(_FRENCH_UNITS)
    put_together = {word: worth for word, worth in teens.items() if "-" in word}
    put_together |= {f"soixante-{word}": 60 + worth for word, worth in teens.items()}
    put_together |= {"soixante-et-onze": 71, "quatre-vingts": 80, "quatre-vingt": 80}
    for word, worth in (teens | units).items():
        put_together[f"quatre-vingt-{word}"] = 80 + worth
    return put_together


NUMBERS = (
    _tens_and_units()
    | _ordinals()
    | {word: worth for table in _NUMBERS.values() for word, worth in _worths(table).items()}
)
FRENCH = _french()
ITSELF = frozenset(_ITSELF.split())

CJK_DIGITS = {digit: worth for worth, digit in enumerate("零一二三四五六七八九")} | {
    "〇": 0,
    "两": 2,
    "兩": 2,
}
CJK_SCALES = {"十": 10, "百": 100, "千": 1000, "万": 10**4, "萬": 10**4, "億": 10**8, "亿": 10**8}

_ARABIC_CLITICS = "وفبلك"
"""And, so, with, for, like: written as one with the word that follows."""


def number(word: str) -> int | None:
    """Return the worth of a number word, joined ones included; None if it is none."""
    if word in NUMBERS:
        return NUMBERS[word]
    if len(word) > 3 and word[0] in _ARABIC_CLITICS:
        return NUMBERS.get(bare(word))
    scale = _THOUSANDS.search(word) or _HUNDREDS.search(word)
    if scale is None:
        return None
    before, after = word[: scale.start()], word[scale.end() :]
    times = 1 if not before else _unit(before)
    rest = 0 if not after else number(after.removeprefix("und"))
    if times is None or rest is None:
        return None
    return times * _JOINED_SCALES[scale[0]] + rest


def bare(word: str) -> str:
    """Return an Arabic word without the one that is written as one with it."""
    return word[1:] if len(word) > 2 and word[0] in _ARABIC_CLITICS else word


def _unit(word: str) -> int | None:
    return 1 if word in {"ein", "een"} else number(word)
