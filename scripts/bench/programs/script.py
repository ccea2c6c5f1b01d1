# A script as people write them: words counted, records sorted, JSON there and back, regular expressions, a digest.
import collections, hashlib, json, re, sys

rounds = int(sys.argv[1])
text = sys.stdin.read(400_000)
words = re.findall(r"[A-Za-z_]+", text)
digest = hashlib.sha1()


class Record:
    def __init__(self, word, count):
        self.word, self.count = word, count

    def key(self):
        return (-self.count, self.word.lower(), self.word)


for n in range(rounds):
    counts = collections.Counter(word for word in words if len(word) > n % 3)
    records = sorted((Record(*item) for item in counts.items()), key=Record.key)
    rows = [{"word": r.word, "count": r.count, "part": r.count / len(words)} for r in records]
    again = json.loads(json.dumps(rows))
    total = sum(row["count"] * len(row["word"]) for row in again)
    table = {row["word"]: index for index, row in enumerate(again)}
    upper = re.sub(r"\bdef (\w+)", lambda match: match.group(1).upper(), text[:100_000])
    digest.update(f"{total} {len(table)} {upper.count('SELF')}".encode())

print(digest.hexdigest(), [record.word for record in records[:5]])
