"""Random texts of times, intervals, numbers, booleans and JSON: of the forms that PostgreSQL reads, and damaged ones."""

ZONES = ["America/New_York", "Europe/Madrid", "asia/kolkata", "America/Mexico_City", "Pacific/Apia", "Etc/GMT+5", "Japan"]
MONTHS = ["jan", "Feb", "MAR", "April", "may", "June", "jul", "august", "Sept", "sep", "Oct", "november", "Dec"]
DAYS = ["Mon", "tuesday", "WED", "Thurs", "fri", "Sat", "sun"]
UNITS = ["microseconds", "us", "usec", "usecond", "useconds", "milliseconds", "ms", "msecs", "msecond", "seconds", "second", "sec", "s", "minutes", "min", "m",
         "hours", "hour", "hr", "h", "days", "day", "d", "weeks", "week", "w", "months", "mon", "mons", "month", "years",
         "year", "yr", "y", "decades", "decade", "dec", "centuries", "century", "c", "millennia", "millennium", "mil",
         "millenniums", "quarter", "qtr", "timezone"]
# Read there and not here, on purpose; see the rules in compare_postgres.py.
RELATIVE = ["now", "today", "tomorrow", "yesterday"]
ABBREVIATIONS = ["EST", "PST", "CET", "MSK", "CEST", "EDT", "IST", "EST5EDT", "UTC+3", "FOO-2", "UTC-05:30"]
NOISE = " \t-+:./,@()TZPeE0123456789abdhmsyj" + "é_\\\"#"


class Texts:
    def __init__(self, rng):
        self.rng = rng

    def of(self, ty):
        """A text of a type, and whether it was damaged."""
        text = getattr(self, ty)()
        if self.rng.random() < 0.7:
            return text, False
        for _ in range(self.rng.choice([1, 1, 2, 3])):
            text = self.damaged(text)
        return text, True

    def damaged(self, text):
        rng = self.rng
        at, kind = rng.randrange(len(text) + 1), rng.randrange(6)
        if kind == 0:
            return text[:at] + text[at + 1:]
        if kind == 1:
            return text[:at] + rng.choice(NOISE) + text[at:]
        if kind == 2:
            return text[:at] + rng.choice(NOISE) + text[at + 1:]
        words = text.split(" ")
        word = rng.randrange(len(words))
        if kind == 3:
            del words[word]
        elif kind == 4:
            words.insert(word, rng.choice(words))
        else:
            words.append(words.pop(word))
        return " ".join(words)

    def spaced(self, text):
        return self.rng.choice(["", "", "", " ", "\t", "  "]) + text + self.rng.choice(["", "", "", " ", "\n"])

    def boolean(self):
        return self.spaced(self.rng.choice(["t", "f", "true", "false", "TRUE", "fals", "tr", "y", "n", "yes", "NO", "on", "off",
                                            "of", "o", "1", "0", "2", "", "null"]))

    def bigint(self):
        rng = self.rng
        number = rng.choice([rng.randrange(-1000, 1000), rng.randrange(-2**63, 2**63), 2**63 - 1, -2**63, 2**63, -2**63 - 1,
                             10**25])
        return self.spaced(rng.choice(["", "", "+", "0", "000"]) + str(number))

    def double(self):
        rng = self.rng
        whole = rng.choice(["", "0", "7", "12", "00012", "123456789", "9007199254740993", "1" * 40])
        part = rng.choice(["", "", ".", ".5", ".25", ".000001", ".1234567890123456789"])
        exponent = rng.choice(["", "", "", "e3", "E-3", "e+10", "e308", "e309", "e-320", "e-400", "e", "e0"])
        special = rng.random()
        if special < 0.03:
            return self.spaced(rng.choice(["NaN", "inf", "-Infinity", "infinity", "0x1p3", "0x10", "1_000", "2.2250738585072011e-308",
                                           "4.9e-324", "2e-324", "1.7976931348623157e308", "1.7976931348623159e308"]))
        return self.spaced(rng.choice(["", "", "-", "+"]) + whole + part + exponent)

    def json(self):
        rng = self.rng
        def value(depth):
            kind = rng.randrange(7 if depth else 5)
            if kind == 5:
                return "[" + rng.choice([",", ", ", " ,"]).join(value(depth - 1) for _ in range(rng.randrange(4))) + "]"
            if kind == 6:
                members = (f'"{rng.choice("abkn")}"{rng.choice([":", ": "])}{value(depth - 1)}' for _ in range(rng.randrange(3)))
                return "{" + ",".join(members) + "}"
            return rng.choice(["null", "true", "false", "0", "-1", "12.5", "1e3", "1E-2", "-0", "01", "1.", ".5", '"text"', '"\\u0000"', '"\\ud83d\\ude00"', '"\\ud83d"',
                               '"a\\"b"', '"\\u00e9"', '"é"', '""', '"\\n"', '"\\q"', "nul", "+1"])
        return self.spaced(value(3))

    # Times

    def year(self):
        rng = self.rng
        return rng.choice([rng.randrange(1950, 2060), rng.randrange(1950, 2060), rng.randrange(1, 10_000), 1, 100, 1582, 9999,
                           10_000, 12_345, 294_276, 294_277, 4714, 4713, 0])

    def date(self):
        rng = self.rng
        y, m, d = self.year(), rng.randrange(1, 13), rng.choice([rng.randrange(1, 29), rng.randrange(1, 32), 31, 30])
        if rng.random() < 0.03:
            m, d = rng.choice([0, 13, 19]), rng.choice([0, 32, 29])
        name, short = rng.choice(MONTHS), f"{y % 100:02}"
        forms = [
            f"{y:04}-{m:02}-{d:02}", f"{y:04}-{m:02}-{d:02}", f"{y:04}-{m:02}-{d:02}", f"{y:04}/{m:02}/{d:02}",
            f"{y:04}.{m:02}.{d:02}", f"{y:04}-{m}-{d}", f"{m}/{d}/{y:04}", f"{m:02}/{d:02}/{short}", f"{m:02}-{d:02}-{y:04}",
            f"{m}.{d}.{y:04}", f"{d}-{name}-{y:04}", f"{d:02}-{name}-{short}", f"{name}-{d:02}-{y:04}", f"{y:04}-{name}-{d:02}",
            f"{name} {d}, {y:04}", f"{d} {name} {y:04}", f"{name} {d} {y:04}", f"{rng.choice(DAYS)} {d} {name} {y:04}",
            f"{rng.choice(DAYS)}, {name} {d}, {y:04}", f"{y:04} {name} {d}", f"{d} {name} {short}",
            f"{y:04}{m:02}{d:02}", f"{y:04}{m:02}{d:02}", f"{short}{m:02}{d:02}", f"{y:04}.{rng.randrange(0, 368):03}",
            f"{y:04}-{rng.randrange(1, 367):03}", f"J{rng.randrange(2_400_000, 2_500_000)}", f"julian {rng.randrange(0, 3_000_000)}",
            f"J{rng.randrange(2_400_000, 2_500_000)}.{rng.randrange(0, 1000)}", f"y{y}m{m:02}d{d:02}", f"{y:04} {m} {d}",
            f"{m} {d} {y:04}", f"{y:04}-{m:02}", f"{y:04}", f"{name} {y:04}",
        ]
        return rng.choice(forms)

    def fraction(self):
        rng = self.rng
        return rng.choice(["", "", ".", ".5", ".12", ".123", ".123456", ".999", ".999999", ".0005", ".1234567", ".1239999"])

    def time(self):
        rng = self.rng
        h, m, s = rng.randrange(0, 24), rng.randrange(0, 60), rng.randrange(0, 60)
        f = self.fraction()
        forms = [
            f"{h:02}:{m:02}:{s:02}{f}", f"{h:02}:{m:02}:{s:02}{f}", f"{h:02}:{m:02}:{s:02}", f"{h:02}:{m:02}", f"{h}:{m:02}",
            f"{h:02}{m:02}{s:02}", f"{h:02}{m:02}", f"{h:02}{m:02}{s:02}{f}", f"{h % 12 or 12}:{m:02} {rng.choice(['AM', 'PM', 'pm'])}",
            f"{h % 12 or 12}:{m:02}:{s:02}{f}{rng.choice(['am', 'PM'])}", "24:00:00", "24:00", "23:59:60", f"{h:02}:{m:02}:60",
            "00:00:00", "allballs", f"{m}:{s:02}.5", f"h{h:02}mm{m:02}s{s:02}", f"{h}:60", "24:00:01", "25:00", f"{h:02}:{m:02} PM",
        ]
        return rng.choice(forms)

    def zone(self):
        rng = self.rng
        hours, minutes, sign = rng.randrange(0, 16), rng.choice([0, 0, 30, 45, 59]), rng.choice("+-")
        forms = ["Z", "z", "Z", f"{sign}{hours:02}:{minutes:02}", f"{sign}{hours:02}:{minutes:02}", f"{sign}{hours:02}{minutes:02}",
                 f"{sign}{hours:02}", f"{sign}{hours}", f" {sign}{hours:02}:{minutes:02}", f"{sign}{hours:02}:{minutes:02}:15", " UTC",
                 " gmt", " Zulu", f" {rng.choice(ZONES)}", f" {rng.choice(ZONES)}", f"{sign}16:00", f"{sign}05:60", " UTC DST",
                 f"{sign}5:", " DST"]
        return rng.choice(forms)

    def timestamp(self):
        rng = self.rng
        special = rng.random()
        if special < 0.02:
            return rng.choice(["epoch", " EPOCH ", "infinity", "-infinity", *RELATIVE, "", "yesterday 12:00", "epoch 12:00"])
        date = self.date()
        if rng.random() < 0.04:
            date += rng.choice([" BC", " AD", " bc"])
        if special < 0.25:
            return self.spaced(date)
        time = self.time() + (self.zone() if rng.random() < 0.5 else "")
        if special < 0.27:
            return f"{time} {date}"
        if rng.random() < 0.03:
            return f"{date} {time} {rng.choice(ABBREVIATIONS)}"
        if rng.random() < 0.03:
            return f"{date} {time}{rng.choice([' BC', ' AD', ' Monday', ' at'])}"
        return self.spaced(date + rng.choice([" ", " ", "T", "T", "t", " at ", "  "]) + time)

    # Intervals

    def number(self):
        rng = self.rng
        number = rng.choice([rng.randrange(0, 100), rng.randrange(0, 100), rng.randrange(0, 100_000), 1, 0])
        if rng.random() < 0.02:
            number = rng.choice([2**31 - 1, 2**31, 2**63 - 1, 2**63, 178_956_970, 178_956_971, 9_223_372_036_854, 10**15])
        part = rng.choice(["", "", "", "", ".5", ".25", ".1", ".000001", ".123456789", "."])
        return rng.choice(["", "", "", "-", "+"]) + (str(number) if part != ".5" or number else "") + part

    def clock(self):
        rng = self.rng
        h = rng.choice([rng.randrange(0, 24), rng.randrange(0, 24), rng.randrange(0, 2000), 2_562_047_788, 2_562_047_789])
        m, s = rng.randrange(0, 61), rng.randrange(0, 61)
        forms = [f"{h}:{m:02}", f"{h:02}:{m:02}:{s:02}", f"{h:02}:{m:02}:{s:02}{self.fraction()}", f"{m}:{s:02}.5"]
        return rng.choice(["", "", "-", "+"]) + rng.choice(forms)

    def iso(self):
        rng = self.rng
        n = lambda: rng.choice(["", "", "-"]) + str(rng.randrange(0, 100)) + rng.choice(["", "", "", ".5", ".25"])
        kind = rng.randrange(8)
        if kind < 4:
            date = "".join(n() + unit for unit in "YMWD" if rng.random() < 0.4)
            time = "".join(n() + unit for unit in "HMS" if rng.random() < 0.5)
            return "P" + date + ("T" + time if time or rng.random() < 0.1 else "")
        y, m, d = rng.randrange(0, 9999), rng.randrange(0, 13), rng.randrange(0, 32)
        H, M, S = rng.randrange(0, 24), rng.randrange(0, 60), rng.randrange(0, 60)
        if kind < 6:
            return rng.choice([f"P{y:04}-{m:02}-{d:02}T{H:02}:{M:02}:{S:02}", f"P{y:04}-{m:02}-{d:02}", f"P{y:04}-{m:02}", f"P{y:04}",
                               f"PT{H:02}:{M:02}", f"PT{H:02}:{M:02}:{S:02}{self.fraction()}"])
        if kind == 6:
            return rng.choice([f"P{y:04}{m:02}{d:02}T{H:02}{M:02}{S:02}", f"P{y:04}{m:02}{d:02}", f"PT{H:02}{M:02}{S:02}", f"P{y}T{H}"])
        return rng.choice(["P", "PT", "P1", "P1DT", "p1d", "P1e2D", "P1M1Y", "PT1H1H", "P1D1D", "P1Y-2M"])

    def interval(self):
        rng = self.rng
        kind = rng.randrange(10)
        if kind < 2:
            return self.iso()
        if kind == 2:
            sign = rng.choice(["", "", "-", "+"])
            text = f"{sign}{rng.randrange(0, 200)}-{rng.randrange(0, 13)}"
            return text + rng.choice(["", "", f" {rng.randrange(0, 40)} {self.clock()}", f" {self.number()} days", f" {self.clock()}"])
        if kind == 3:
            return self.spaced(rng.choice([f"{self.number()} {self.clock()}", self.clock(), self.number()]))
        units = rng.sample(UNITS, rng.choice([1, 1, 2, 2, 3]))
        if rng.random() < 0.03:
            units.append(units[0])
        parts = [self.number() + rng.choice(["", " ", " ", " ", "  "]) + unit for unit in units]
        text = rng.choice([" ", " ", ", ", ""]).join(parts)
        if rng.random() < 0.2:
            text += " " + self.clock()
        if rng.random() < 0.1:
            text += rng.choice([" ago", " ago", " AGO", " ago 1 s"])
        if rng.random() < 0.1:
            text = "@ " + text
        return self.spaced(text)
