"""Digits -> the English words one sings for them."""

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
_TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
_SCALES = (
    (10**12, "trillion"),
    (10**9, "billion"),
    (10**6, "million"),
    (1_000, "thousand"),
    (100, "hundred"),
)
_TOO_LONG = 15  # digits; beyond trillions one reads digit by digit
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_CURRENCIES = {"$": ("dollar", "cent"), "€": ("euro", "cent"), "£": ("pound", "penny"), "¥": ("yen", "sen")}
CURRENCY_SIGNS = "".join(_CURRENCIES)


def cardinal(digits: str) -> list[str]:
    """ "1,042" -> one thousand forty two. Leading zeros and very long numbers are read digit by digit."""
    digits = digits.replace(",", "")
    if len(digits) > _TOO_LONG or (len(digits) > 1 and digits[0] == "0"):
        return [_SMALL[int(digit)] for digit in digits]
    return _count(int(digits))


def ordinal(digits: str) -> list[str]:
    """ "21" -> twenty first."""
    *before, last = cardinal(digits)
    if last in _ORDINALS:
        return [*before, _ORDINALS[last]]
    return [*before, last[:-1] + "ieth" if last.endswith("y") else last + "th"]


def number(digits: str) -> list[str]:
    """A number as it stands in a lyric: four digits from 1100 to 2099 are a year, a point is a decimal."""
    whole, _, decimals = digits.partition(".")
    if decimals:
        return [*cardinal(whole or "0"), "point", *(_SMALL[int(digit)] for digit in decimals)]
    if len(whole) == 4 and whole.isdigit() and 1100 <= int(whole) <= 2099:
        return _year(int(whole))
    return cardinal(whole)


def decade(digits: str) -> list[str]:
    """ "80" or "1980", said of "the 80s" -> (nineteen) eighties."""
    *before, last = number(digits)
    return [
        *before,
        last[:-1] + "ies" if last.endswith("y") else last + ("es" if last.endswith("x") else "s"),
    ]


def clock(hours: str, minutes: str) -> list[str]:
    """ "9:05" -> nine oh five; full hours are "o'clock"."""
    if int(minutes) == 0:
        return [*_count(int(hours)), "o'clock"]
    return [*_count(int(hours)), *(["oh"] if int(minutes) < 10 else []), *_count(int(minutes))]


def money(sign: str, whole: str, cents: str = "", scale: str = "") -> list[str]:
    """ "$5.50" -> five dollars and fifty cents; "$2 million" -> two million dollars."""
    unit, small_unit = _CURRENCIES[sign]
    if scale:
        return [*number(f"{whole}.{cents}" if cents else whole), scale, _plural(unit)]
    words = [*cardinal(whole), unit if whole == "1" else _plural(unit)]
    if cents and int(cents):
        worth = int(cents.ljust(2, "0"))
        words += ["and", *_count(worth), small_unit if worth == 1 else _plural(small_unit)]
    return words


def _count(value: int) -> list[str]:
    if value < 20:
        return [_SMALL[value]]
    if value < 100:
        return [_TENS[value // 10], *([_SMALL[value % 10]] if value % 10 else [])]
    size, scale = next(pair for pair in _SCALES if value >= pair[0])
    return [*_count(value // size), scale, *(_count(value % size) if value % size else [])]


def _year(year: int) -> list[str]:
    century, rest = divmod(year, 100)
    if 2000 <= year < 2010:
        return _count(year)
    if rest == 0:
        return [*_count(century), "hundred"]
    return [*_count(century), *(["oh"] if rest < 10 else []), *_count(rest)]


def _plural(unit: str) -> str:
    return {"penny": "pence", "yen": "yen", "sen": "sen"}.get(unit, unit + "s")
