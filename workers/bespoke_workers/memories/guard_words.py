"""The words that the guard reads beside numbers, by language. Tables, no rules.

Words stand as `lexical.normal_form` leaves them: case-folded, with plain apostrophes.
"""
# ruff: noqa: RUF001  # other scripts' letters are what these tables are about

_NEGATIONS = {
    # "stopped" says "no longer", "dislikes" says "does not like".
    "en": "not no never none nobody nothing nowhere neither nor cannot without non nope nay "
    "stop stops stopped stopping quit quits quitting cease ceases ceased dislike dislikes disliked "
    "lack lacks lacked except refuse refuses refused fail fails failed failing avoid avoids "
    "avoided avoiding disagree disagrees disagreed impossible incapable incorrect "
    "insecure inactive incomplete invalid",
    "de": "nicht nichts kein keine keinen keinem keiner keines keins keinerlei nie niemals nimmer "
    "niemand niemanden niemandem nirgends nirgendwo ohne weder nein",
    "nl": "niet niets geen nooit niemand nergens zonder nee nimmer",
    "fr": "pas jamais rien aucun aucune sans ni guère nul nulle",
    "es": "nunca jamás nada nadie ningún ninguno ninguna ningunos ningunas sin tampoco ningun",
    "it": "mai niente nulla nessun nessuno nessuna senza né mica neanche nemmeno neppure",
    "pt": "não nao ninguém nenhum nenhuma sem nem tampouco jamais",
    "sv da no": "inte icke ingen inget inga aldrig utan ej ikke ikkje ingenting aldri uten uden",
    "fi hu": "ei eivät älä ilman koskaan nincs soha nélkül",
    "pl cs": "nigdy bez żaden żadna żadne nikt nic nikdy není",
    "tr": "değil yok hiç asla",
    "id vi ko": "tidak bukan belum jangan tanpa không chưa chẳng đừng 안 못",
    "ru uk": "не нет ни никогда без никто ничего нельзя ні немає ніколи нету нигде никого",
    "el": "δεν δε μη μην όχι ποτέ χωρίς",
    "ar fa": "لا لم لن ليس ليست لست لسنا ليسوا غير بدون دون عدم ما مش مو نه نیست",
    "he": "לא אין בלי ללא",
    "hi": "नहीं मत ना बिना",
}
# "ne … pas" is one negation, and so is either of the two: spoken French leaves "ne" out.
FRENCH_NE = frozenset({"ne", "n"})
FRENCH_PARTICLES = frozenset(
    {"pas", "jamais", "rien", "aucun", "aucune", "ni", "guère", "nul", "nulle"}
)
# Scripts without spaces, and endings: counted wherever they stand.
_NEGATIONS_ANYWHERE = (
    "不 没 沒 無 无 非 未 別 别 勿 ない なかった なく なし ずに 抜き ません "
    "않 없 아니 말고 못하 못해 못했 ไม่"
)

# Less than always, more than never: neither the same as a negation nor as none.
_RARELY = (
    "hardly rarely seldom barely scarcely selten kaum raramente rarement zelden nauwelijks редко "
    "rzadko apenas"
)

# With a negation they say that it was otherwise before: "no longer", "nicht mehr", "ne … plus".
_NO_LONGER = "longer anymore mehr plus ya já più piu mais meer больше więcej"

# What stands between two numbers and gives them an order: "9 to 5", "quarter past six".
_RELATIONS = {"": "to till until before bis vor tot voor à a до", ">": "past after nach over"}

# What stands after a number and makes it another amount.
_UNITS = {
    "km": "km kms kilometre kilometres kilometer kilometers kilometern kilómetro kilómetros "
    "kilomètre kilomètres chilometro chilometri quilômetro quilômetros км",
    "m": "m metre metres meter meters metern mètre mètres metro metros metri м",
    "cm": "cm centimetre centimetres centimeter centimeters zentimeter",
    "mm": "mm millimetre millimetres millimeter millimeters",
    "mi": "mi mile miles meile meilen milla millas miglia",
    "ft": "ft foot feet fuss",
    "in": "inch inches zoll",
    "kg": "kg kgs kilo kilos kilogram kilograms kilogramm chilo chili quilo quilos кг",
    "g": "g gram grams gramm gramme grammes gramo gramos grammi grama gramas г",
    "mg": "mg milligram milligrams milligramm",
    "lb": "lb lbs",
    "pound": "pound pounds pfund",
    "oz": "oz ounce ounces",
    "l": "l litre litres liter liters litro litros litri",
    "ml": "ml millilitre millilitres milliliter milliliters",
    "€": "euro euros eur",
    "$": "dollar dollars usd dólar dólares",
    "c": "c celsius",
    "f": "f fahrenheit",
    "min": "min mins",
    "hour": "h hr hrs std",
}

# Concepts of which only one side of each pair is named: the other one is what does not name it.
# First times, in which all differ, then opposites.
_CONTRASTS = {
    "sec": "seconds sekunde sekunden secondes segundos secondi seconden",
    "min": "minute minutes minuten minuto minutos minuti minuut минут минуты",
    "hour": "hour hours hourly stunde stunden stündlich heure heures hora horas ora ore uur часов",
    "day": "day days daily tag tage tagen täglich jour jours día días giorno giorni dia dias dag "
    "dagen dni дней дня",
    "week": "week weeks weekly woche wochen wöchentlich semaine semaines semana semanas settimana "
    "settimane weken неделя неделю недели",
    "month": "month months monthly monat monate monaten monatlich mois mes meses mese mesi mês "
    "maand maanden месяц месяца месяцев",
    "year": "year years yearly annual annually jahr jahre jahren jährlich année années ans año "
    "años anno anni ano anos jaar год года лет",
    "mon": "monday mondays montag montags lundi lundis lunes lunedì maandag понедельник "
    "понедельникам الاثنين",
    "tue": "tuesday tuesdays dienstag dienstags mardi mardis martes martedì dinsdag вторник "
    "вторникам الثلاثاء",
    "wed": "wednesday wednesdays mittwoch mittwochs mercredi mercredis miércoles mercoledì "
    "woensdag среду средам الأربعاء",
    "thu": "thursday thursdays donnerstag donnerstags jeudi jeudis jueves giovedì donderdag "
    "четверг четвергам الخميس",
    "fri": "friday fridays freitag freitags vendredi vendredis viernes venerdì vrijdag пятница "
    "пятницу пятницам الجمعة",
    "sat": "saturday saturdays samstag samstags sonnabend samedi samedis sábado sábados sabato "
    "zaterdag суббота субботу субботам السبت",
    "sun": "sunday sundays sonntag sonntags dimanche dimanches domingo domingos domenica zondag "
    "воскресенье воскресеньям الأحد",
    "weekend": "weekend weekends wochenende",
    "jan": "january jan januar janvier enero gennaio janeiro januari",
    "feb": "february feb februar février febrero febbraio fevereiro februari",
    "mar": "march märz mars marzo março maart",
    "apr": "april avril abril aprile",
    "jun": "june juni juin junio giugno junho",
    "jul": "july juli juillet julio luglio julho",
    "aug": "august août agosto augustus",
    "sep": "september septembre septiembre settembre setembro",
    "oct": "october oktober octobre octubre ottobre outubro",
    "nov": "november novembre noviembre novembro",
    "dec": "december dezember décembre diciembre dicembre dezembro",
    "spring": "spring springtime frühling printemps primavera lente",
    "summer": "summer summers sommer été verano estate verão zomer летом",
    "autumn": "autumn herbst automne otoño autunno outono herfst осенью",
    "winter": "winter winters hiver invierno inverno зимой",
    "morning": "morning mornings morgens vormittag vormittags matin matins mattina manhã "
    "ochtend утром утра صباحا",
    "morgen": "morgen mañana",
    "afternoon": "afternoon afternoons nachmittag nachmittags tarde pomeriggio namiddag مساء",
    "evening": "evening evenings abend abends soir soirs sera avond вечером вечера вечерам",
    "night": "night nights nacht nachts nuit noche notte noite tonight ночью",
    "yesterday": "yesterday gestern hier ayer ieri ontem gisteren вчера أمس",
    "today": "today heute aujourd'hui hoy oggi hoje vandaag сегодня اليوم",
    "tomorrow": "tomorrow demain domani amanhã завтра غدا",
    "cold": "cold colder kalt kalte kalten kalter kaltes froid froide froids froides frío fría "
    "freddo fredda frio fria koud koude холодный холодную",
    "small": "small smaller little klein kleine kleinen kleiner kleines petit petite petits "
    "petites pequeño pequeña pequeños pequeñas piccolo piccola pequeno pequena",
    "plus": "plus",
    "less": "less fewer least weniger moins menos meno minder меньше",
    "late": "late later spät später tard tardi laat поздно",
    "left": "left links linke linken gauche izquierda izquierdo sinistra esquerda слева налево",
    "closed": "closed shut geschlossen fermé fermée fermés fermées cerrado cerrada chiuso chiusa "
    "fechado fechada gesloten закрыт закрыта",
    "off": "off",
    "down": "down",
    "out": "outside draussen",
    "after": "after afterwards",
    "vor": "vor",
    "under": "under below unter",
    "decrease": "decrease decreases decreased reduce reduces reduced senken baisser bajar",
    "low": "low lower lowest niedrig bas basse bajo baja",
    "narrow": "narrow narrower eng schmal étroit estrecho",
    "young": "young younger jung junge jünger jüngere jeune joven",
    "new": "new neu neue neuen neuer neues",
    "reject": "reject rejects rejected decline declines declined ablehnen abgelehnt",
    "sell": "sell sells sold selling verkauft verkaufen",
    "bad": "bad worse worst badly poor poorly schlecht schlechte schlechter mauvais mauvaise malo "
    "mala cattivo ruim mau slecht slechte плохо плохой",
    "hate": "hate hates hated hating loathe loathes detest detests hasst hassen déteste odia "
    "haat ненавидит يكره أكره",
    "cheap": "cheap cheaper billig barato barata economico goedkoop дешёвый",
    "dark": "dark darker dunkel sombre oscuro scuro escuro donker",
    "short": "short shorter kurz court corto",
    "slow": "slow slower slowly langsam lent lento langzaam медленно",
    "quiet": "quiet quieter leise ruhig",
    "empty": "empty leer vide vacío vuoto vazio leeg",
    "weak": "weak weaker schwach faible débil",
    "private": "private privat privé",
    "soft": "soft softer weich",
    "wet": "wet nass",
    "lose": "lose loses lost losing verloren",
    "last": "last letzte letzten letzter dernier dernière último última ultimo laatste",
    "divorced": "divorced single geschieden divorcé divorciado",
    "south": "south southern süden",
    "east": "east eastern osten",
    "west": "west western westen",
}
# The same in scripts without spaces: each is found wherever it stands, and is a concept itself.
_CONTRASTS_ANYWHERE = (
    "半 午前 午後 上午 下午 早上 晚上 中午 凌晨 朝 夜 昨天 今天 明天 昨日 今日 明日 每天 每周 每月 "
    "每年 毎日 毎週 毎月 毎年 月曜 火曜 水曜 木曜 金曜 土曜 日曜 星期日 星期天 周日 讨厌 討厭 嫌い "
    "冷 寒 便宜 安い 左 关 關 "
    "오전 오후 월요일 화요일 수요일 목요일 금요일 토요일 일요일 아침 저녁 밤 싫 "
    "январ феврал март апрел июн июл август сентябр октябр ноябр декабр"
)


def _concepts(table: dict[str, str]) -> dict[str, str]:
    return {
        word: concept
        for concept, words in table.items()
        for word in words.upper().casefold().split()
    }


_JOINED = "do does did is are was were ca could wo would should have has had must need might sha"

NEGATIONS = FRENCH_NE - {"n"} | frozenset(
    word for words in _NEGATIONS.values() for word in words.upper().casefold().split()
)
NEGATIONS_ANYWHERE = tuple(_NEGATIONS_ANYWHERE.split())
NOT_JOINED = frozenset(f"{verb}nt" for verb in _JOINED.split())
"""English negations whose apostrophe was left out: "dont"."""
RARELY = frozenset(_RARELY.split())
NO_LONGER = frozenset(_NO_LONGER.split())
NO_LONGER_ANYWHERE = ("any more", "再", "もう")
RELATIONS = _concepts(_RELATIONS)
UNITS = _concepts(_UNITS)
CONTRASTS = _concepts(_CONTRASTS)
CONTRASTS_ANYWHERE = tuple(_CONTRASTS_ANYWHERE.split())
