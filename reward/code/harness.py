# What runs around and beside a candidate written in Python. `mode` says as what this process was started:
#   run    the candidate's program, standard input and output its own
#   call   one call of the candidate's function; the arguments come on standard input, its result goes to standard output
#   serve  the candidate, called by another process over descriptor 3
#   tests  that other process: trusted tests, which hold the candidate by proxies only and never run a line of it
# What tests and candidate say to each other: 8 bytes of length, then JSON,
#   ["ask", what, target, args, kwargs] -> ["ok", value] or ["raise", type, text], in both directions (a test may pass a function);
# values are of the types in PLAIN, Fraction and Decimal, anything else stays where it is and is passed as a number.
import builtins, json, os, sys

PLAIN = {t.__name__: t for t in (bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset, range, object)}
LISTS = {"tuple": tuple, "set": set, "frozenset": frozenset}

class Gone(BaseException): "the other side has ended"
class Unsupported(BaseException): "a value of the tests that cannot be given to another process"

def pack(x, other):
    # by exact type, then by base class, whose own methods are used: what an overriding one would say does not count
    t = type(x)
    if x is None or t is bool or t is int or t is str: return x
    if t is float: return x if x - x == 0 else {"float": repr(x)}
    if t is list: return [pack(i, other) for i in x]
    if t is tuple or t is set or t is frozenset: return {t.__name__: [pack(i, other) for i in x]}
    if t is dict: return {"dict": [[pack(k, other), pack(v, other)] for k, v in x.items()]}
    if t is bytes or t is bytearray: return {t.__name__: x.decode("latin-1")}
    if t is complex: return {"complex": [repr(x.real), repr(x.imag)]}
    if t is range: return {"range": [x.start, x.stop, x.step]}
    if t.__name__ == "Fraction" and t.__module__ == "fractions": return {"fraction": [x.numerator, x.denominator]}
    if t.__name__ == "Decimal" and t.__module__ == "decimal": return {"decimal": str(x)}
    if t is type and x.__name__ in PLAIN and PLAIN[x.__name__] is x: return {"type": x.__name__}
    for base, plain in ((int, int.__int__), (float, float.__float__), (str, str.__str__)):
        if isinstance(x, base) and issubclass(t, base): return pack(base(plain(x)) if base is not str else "".join(str.__iter__(x)), other)
    for base in (list, tuple, set, frozenset):
        if issubclass(t, base): return pack(base(base.__iter__(x)), other)
    if issubclass(t, dict): return {"dict": [[pack(k, other), pack(v, other)] for k, v in dict.items(x)]}
    return other(x)

def unpack(x, other):
    if type(x) is list: return [unpack(i, other) for i in x]
    if type(x) is not dict: return x
    (tag, v), = x.items()
    if tag in LISTS: return LISTS[tag]([unpack(i, other) for i in v])
    if tag == "dict": return {unpack(k, other): unpack(i, other) for k, i in v}
    if tag == "float": return float(v)
    if tag == "bytes": return str.encode(v, "latin-1")
    if tag == "bytearray": return bytearray(v, "latin-1")
    if tag == "complex": return complex(float(v[0]), float(v[1]))
    if tag == "range": return range(*v)
    if tag == "fraction":
        from fractions import Fraction
        return Fraction(*v)
    if tag == "decimal":
        from decimal import Decimal
        return Decimal(v)
    if tag == "type": return PLAIN[v]
    return other(tag, v)

class Peer:
    "One end of the channel between the tests and the candidate."
    def __init__(self, channel, limit):
        self.channel, self.limit, self.objects = channel, limit, []
    def send(self, message):
        data = json.dumps(message).encode()
        data = len(data).to_bytes(8, "little") + data
        while data:
            try: n = os.write(self.channel, data)
            except OSError: raise Gone from None
            data = data[n:]
    def read(self, size):
        parts = []
        while size > 0:
            try: part = os.read(self.channel, min(size, 1 << 20))
            except OSError: raise Gone from None
            if not part: raise Gone
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
    def receive(self):
        size = int.from_bytes(self.read(8), "little")
        if size >= 1 << 40: raise Gone  # no answer of the harness's: the candidate wrote there by itself
        if size > self.limit: raise Gone("an answer is too large")
        return json.loads(self.read(size))
    def ask(self, what, target, args=(), kwargs={}):
        self.send(["ask", what, target, [self.pack(a) for a in args], [[k, self.pack(v)] for k, v in kwargs.items()]])
        while True:
            message = self.receive()
            if message[0] == "ask": self.answer(message)
            elif message[0] == "ok": return self.unpack(message[1])
            else: raise remote_error(message[1], message[2])
    def answer(self, message):
        _, what, target, args, kwargs = message
        try:
            reply = ["ok", self.pack(self.do(what, target, [self.unpack(a) for a in args], {k: self.unpack(v) for k, v in kwargs}))]
        except Exception as error:
            name = next((c.__name__ for c in type(error).__mro__ if getattr(builtins, c.__name__, None) is c), "Exception")
            try: text = str(error)[:500]
            except Exception: text = ""
            reply = ["raise", name, text]
        self.send(reply)
    def pack(self, x): return pack(x, self.pack_other)
    def unpack(self, x): return unpack(x, self.unpack_other)
    def keep(self, x):
        self.objects.append(x)
        return len(self.objects) - 1

def remote_error(name, text):
    kind = getattr(builtins, str(name), None)
    if not (isinstance(kind, type) and issubclass(kind, Exception)): kind = Exception
    try: error = kind(str(text))
    except TypeError: error = Exception(str(text))
    error.of_candidate = True
    return error

# ---- the candidate's side

class Theirs:
    "A function of the tests, given to the candidate as an argument."
    def __init__(self, peer, number): self.peer, self.number = peer, number
    def __call__(self, *args, **kwargs): return self.peer.ask("call", self.number, args, kwargs)

class CandidatePeer(Peer):
    def pack_other(self, x):
        if isinstance(x, Theirs): return {"yours": x.number}
        return {"remote": [self.keep(x), type(x).__name__, callable(x)]}
    def unpack_other(self, tag, v):
        return Theirs(self, v) if tag == "theirs" else self.objects[v]
    def do(self, what, target, args, kwargs):
        if what == "name":
            if target not in self.space: raise NameError("name %r is not defined" % target)
            return self.space[target]
        x = self.objects[target]
        if what == "call": return x(*args, **kwargs)
        if what == "get": return getattr(x, args[0])
        if what == "set": return setattr(x, args[0], args[1])
        if what == "iter": return CandidateIterator(iter(x))
        if what == "next": return next(x)
        if what == "len": return len(x)
        if what == "item": return x[args[0]]
        if what == "put": x[args[0]] = args[1]; return None
        if what == "in": return args[0] in x
        if what == "str": return str(x)
        if what == "repr": return repr(x)
        raise ValueError(what)

class CandidateIterator:  # so that what an iterator is, is ours to say
    def __init__(self, it): self.it = it
    def __next__(self): return next(self.it)

def load(name, module):
    "Runs solution.py as module `name`."
    space = module.__dict__
    space["__file__"] = "solution.py"
    if name == "__main__": space.update(__builtins__=builtins, __annotations__={}, __cached__=None)  # as the interpreter's own
    sys.modules[name] = module
    sys.argv[:] = ["solution.py"]
    with open("solution.py", encoding="utf-8", errors="replace") as file: text = file.read()
    try: code = compile(text, "solution.py", "exec")
    except ValueError as error: raise SyntaxError(str(error)) from None
    exec(code, space)
    return space

def serve(limit):
    channel = os.dup(3)
    os.close(3)
    peer = CandidatePeer(channel, limit)
    peer.space = load("solution", type(sys)("solution"))
    try:
        while True: peer.answer(peer.receive())
    except Gone:
        os._exit(0)

def call(limit):
    with open(0, "rb", closefd=False) as file: request = json.load(file)
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    result = os.dup(1)
    os.dup2(2, 1)
    space = load("solution", type(sys)("solution"))
    name = request["entry_point"]
    if name in space: function = space[name]
    elif "Solution" in space: function = getattr(space["Solution"](), name)
    else: raise NameError("name %r is not defined" % name)
    value = function(*request["args"], **request["kwargs"])
    data = json.dumps(pack(value, lambda x: {"object": type(x).__name__})).encode()
    while data: data = data[os.write(result, data):]
    sys.stdout.flush()
    os._exit(0)

def run(limit):
    status = 0
    try: load("__main__", type(sys)("__main__"))
    except SystemExit as end:
        if isinstance(end.code, int): status = end.code & 0xff
        elif end.code is not None:
            print(end.code, file=sys.stderr)
            status = 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    leave(status)

def leave(status):
    """As the interpreter itself would end, but for the taking down of all modules, which costs a fork as much as all the rest:
    only the program's own objects are, so that its files are flushed and its finalisers run."""
    import gc
    from _weakref import ref
    def flush():
        for file in (sys.stdout, sys.stderr):
            try:
                if file is not None and not getattr(file, "closed", False): file.flush()
            except BaseException: return 120
        return 0
    if "threading" in sys.modules: sys.modules["threading"]._shutdown()
    if "atexit" in sys.modules: sys.modules["atexit"]._run_exitfuncs()
    status = flush() or status
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    main = sys.modules.pop("__main__", None)
    still = ref(main) if type(main) is type(sys) else lambda: None
    main = None
    gc.collect()  # with what finalisers call global still there
    main = still()
    if main:
        for name in list(main.__dict__):
            if name != "__builtins__": main.__dict__[name] = None
        gc.collect()
    os._exit(flush() or status)

# ---- the tests' side: no line of the candidate's runs here

class Remote:
    "What the candidate has and only it can use: functions, classes, objects, iterators. Equal to itself only."
    __slots__ = ("_peer", "_number", "_type")
    def __init__(self, peer, number, kind):
        for name, value in (("_peer", peer), ("_number", number), ("_type", kind)): object.__setattr__(self, name, value)
    def __call__(self, *args, **kwargs): return self._peer.ask("call", self._number, args, kwargs)
    def __getattr__(self, name):
        if name.startswith("__"): raise AttributeError(name)
        return self._peer.ask("get", self._number, (name,))
    def __setattr__(self, name, value): self._peer.ask("set", self._number, (name, value))
    def __iter__(self): return Iterator(self._peer.ask("iter", self._number))
    def __len__(self): return self._peer.ask("len", self._number)
    def __getitem__(self, key): return self._peer.ask("item", self._number, (key,))
    def __setitem__(self, key, value): self._peer.ask("put", self._number, (key, value))
    def __contains__(self, x): return self._peer.ask("in", self._number, (x,)) is True
    def __bool__(self): return True
    def __str__(self): return as_text(self._peer.ask("str", self._number))
    def __repr__(self): return as_text(self._peer.ask("repr", self._number))

def as_text(x):
    if type(x) is not str: raise TypeError("not a text")
    return x

class Iterator:
    def __init__(self, remote): self.remote = remote
    def __iter__(self): return self
    def __next__(self): return self.remote._peer.ask("next", self.remote._number)

class TestsPeer(Peer):
    def pack_other(self, x):
        if type(x) is Remote: return {"yours": x._number}
        if callable(x): return {"theirs": self.keep(x)}
        raise Unsupported("an argument of the tests is of type %s, which cannot be given to the candidate's process" % type(x).__name__)
    def unpack_other(self, tag, v):
        if tag == "yours": return self.objects[v]
        number, kind, _ = v
        if tag != "remote" or type(number) is not int: raise ValueError("no such value")
        return Remote(self, number, str(kind))
    def do(self, what, target, args, kwargs):
        if what != "call" or type(target) is not int or target < 0: raise ValueError("not allowed")
        return self.objects[target](*args, **kwargs)

def names_of(code):
    names = set(code.co_names)
    for constant in code.co_consts:
        if type(constant) is type(code): names |= names_of(constant)
    return names

def tests(limit):
    channel = os.dup(3)
    os.close(3)
    result = os.dup(1)
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 1)
    def say(kind, text=""):
        os.write(result, json.dumps([kind, text[:500]]).encode())
        os._exit(0)
    def load_ours(name):
        with open(name, encoding="utf-8") as file: text = file.read()
        return text, compile(text, name, "exec")
    space = {"__name__": "tests", "__builtins__": builtins}
    try:
        prelude, code = load_ours("prelude.py")
        exec(code, space)
        text, code = load_ours("tests.py")
        with open("entry_point") as file: entry = file.read()
        if entry and "check" not in names_of(code) and "assert" not in text: raise ValueError("there is no check() in it")
    except Exception as error:
        say("broken", repr(error))
    peer = TestsPeer(channel, limit)
    try:
        wanted = {entry} if entry else set()
        if not (entry and prelude.strip()): wanted |= {n for n in names_of(code) if n not in space and not hasattr(builtins, n)}
        if entry: space[entry] = peer.ask("name", entry)
        for name in sorted(wanted - {entry}):
            try: space[name] = peer.ask("name", name)
            except NameError: pass
        ours = space.get(entry)
        exec(code, space)
        if entry and "check" in space: space["check"](ours)
    except Gone as error: say("gone", str(error))
    except Unsupported as error: say("unsupported", str(error))
    except AssertionError as error:
        say("raised" if hasattr(error, "of_candidate") else "assert", repr(error))
    except BaseException as error:
        if isinstance(error, Exception) and not hasattr(error, "of_candidate"):
            say("tests", repr(error))
        say("raised", repr(error))
    say("ok")

def rehearse():
    """In the interpreter that waits, before any program: what is made at its first use is made here once, not in every fork.
    The first compile() alone makes two hundred types; what most programs import costs them more than they do themselves."""
    import gc, _weakref, _signal
    import bisect, collections, copy, functools, heapq, itertools, math, operator, random, re, string, typing
    code = compile("import sys\nclass A:\n    def f(self, x=1): return [str(i) for i in range(x)]\nA().f()", "solution.py", "exec")
    exec(code, {"__name__": "rehearsal"})
    json.loads(json.dumps({"a": [1, 2.5, "b", None]}))
    with open(os.devnull, encoding="utf-8", errors="replace") as file: file.read()
    gc.collect()
    gc.freeze()

def main():
    import _signal
    for name in (_signal.SIGPIPE, _signal.SIGXFSZ): _signal.signal(name, _signal.SIG_IGN)  # a fork has not the interpreter's own
    with open("mode") as file: mode, limit = file.read().split()
    os.unlink("mode")
    {"serve": serve, "call": call, "run": run, "tests": tests}[mode](int(limit))
