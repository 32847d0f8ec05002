//! Scripts and libraries: calls of all library functions with odd arguments.
#![forbid(unsafe_code)]

use super::Bench;
use crate::source::Source;

/// What a script finds, and a few things that it must not.
const FUNCTIONS: &[&str] = &[
    "redis.call",
    "redis.pcall",
    "redis.log",
    "redis.sha1hex",
    "redis.error_reply",
    "redis.status_reply",
    "redis.setresp",
    "redis.set_repl",
    "redis.breakpoint",
    "redis.debug",
    "redis.acl_check_cmd",
    "redis.replicate_commands",
    "redis.register_function",
    "string.rep",
    "string.sub",
    "string.format",
    "string.find",
    "string.match",
    "string.gmatch",
    "string.gsub",
    "string.byte",
    "string.char",
    "string.reverse",
    "string.len",
    "string.upper",
    "string.dump",
    "table.concat",
    "table.insert",
    "table.remove",
    "table.sort",
    "table.getn",
    "table.maxn",
    "table.foreach",
    "table.foreachi",
    "table.setn",
    "unpack",
    "select",
    "next",
    "pairs",
    "ipairs",
    "type",
    "tostring",
    "tonumber",
    "rawget",
    "rawset",
    "rawequal",
    "setmetatable",
    "getmetatable",
    "pcall",
    "xpcall",
    "error",
    "assert",
    "loadstring",
    "load",
    "collectgarbage",
    "newproxy",
    "getfenv",
    "setfenv",
    "gcinfo",
    "coroutine.wrap",
    "coroutine.create",
    "coroutine.resume",
    "coroutine.yield",
    "coroutine.status",
    "math.random",
    "math.randomseed",
    "math.floor",
    "math.fmod",
    "math.ldexp",
    "math.frexp",
    "math.max",
    "os.clock",
    "cjson.encode",
    "cjson.decode",
    "cjson.new",
    "cjson.encode_sparse_array",
    "cjson.encode_max_depth",
    "cjson.decode_max_depth",
    "cjson.encode_number_precision",
    "cjson.encode_keep_buffer",
    "cjson.encode_invalid_numbers",
    "cjson.decode_invalid_numbers",
    "cmsgpack.pack",
    "cmsgpack.unpack",
    "cmsgpack.unpack_one",
    "cmsgpack.unpack_limit",
    "struct.pack",
    "struct.unpack",
    "struct.size",
    "bit.tobit",
    "bit.tohex",
    "bit.bnot",
    "bit.band",
    "bit.lshift",
    "bit.rol",
    "bit.bswap",
];

const VALUES: &[&str] = &[
    "nil",
    "true",
    "false",
    "0",
    "-1",
    "1",
    "2",
    "0.5",
    "-0",
    "1/0",
    "-1/0",
    "0/0",
    "2147483647",
    "-2147483648",
    "4294967296",
    "9007199254740993",
    "1e308",
    "''",
    "'a'",
    "'%'",
    "'%d'",
    "'%99999s'",
    "'(a*)*b'",
    "'[a-'",
    "'%b()'",
    "'%f[a]'",
    "'a?'",
    "'i4'",
    "'>I8'",
    "'!99 i'",
    "'c0'",
    "'z'",
    "'s'",
    "'[1,2'",
    "'{\"a\":[1]}'",
    "'\\0\\255'",
    "'\\220\\255\\255'",
    "'\\221\\255\\255\\255\\255'",
    "'\\130\\161a'",
    "{}",
    "{1,2,3}",
    "{1,nil,3}",
    "{a=1}",
    "{[1.5]=1}",
    "{err='x'}",
    "{ok='x'}",
    "{double=1}",
    "{map={a=1}}",
    "{set={a=true}}",
    "{verbatim_string={format='txt',string='x'}}",
    "{big_number='1'}",
    "deep",
    "cycle",
    "big",
    "print",
    "string",
    "function() return 1 end",
    "function(...) return ... end",
    "setmetatable({}, {__index=function(t,k) return k end})",
    "setmetatable({}, {__gc=function() return 1 end})",
    "coroutine.create(function() end)",
    "KEYS",
    "ARGV",
    "KEYS[1]",
    "ARGV[1]",
    "_G",
    "redis",
    "'get'",
    "'set'",
    "'eval'",
    "'lpush'",
    "'x'",
    "'*'",
];

fn call(source: &mut Source, depth: usize) -> String {
    let function = source.pick(FUNCTIONS);
    let count = source.below(5);
    let args: Vec<String> = (0..count).map(|_| value(source, depth)).collect();
    format!("{function}({})", args.join(", "))
}

fn value(source: &mut Source, depth: usize) -> String {
    match source.below(10) {
        0 if depth < 3 => call(source, depth + 1),
        1 => source.edge().to_string(),
        2 if depth < 3 => format!("{{{}, {}}}", value(source, depth + 1), value(source, depth + 1)),
        3 => format!(
            "string.rep({}, {})",
            source.pick(&["'a'", "'a?'", "'{'", "'['", "'\\144'"]),
            source.below(3000)
        ),
        _ => source.pick(VALUES).to_string(),
    }
}

/// A script, or the code of a library.
pub fn script(source: &mut Source) -> Vec<u8> {
    let mut code = String::new();
    if source.percent(25) {
        code.push_str(&format!("#!lua name=lib{}\n", source.below(2)));
    } else if source.percent(10) {
        code.push_str(source.pick(&[
            "#!lua flags=no-writes\n",
            "#!lua flags=allow-oom,nosuch\n",
            "#!lua\n",
            "#!js\n",
        ]));
    }
    code.push_str(
        "local deep = {} for i = 1, 200 do deep = {deep} end local cycle = {} cycle[1] = cycle\n",
    );
    code.push_str("local big = {} for i = 1, 9000 do big[i] = i end\n");
    for _ in 0..1 + source.below(6) {
        let line = match source.below(8) {
            0 => format!("redis.call({})", command(source)),
            1 => format!(
                "redis.register_function('f{}', function(k, a) return {} end)",
                source.below(3),
                call(source, 0)
            ),
            2 => format!(
                "redis.register_function{{function_name='f{}', callback=function(k, a) return {} end, flags={{{}}}}}",
                source.below(3),
                call(source, 0),
                source.pick(&["'no-writes'", "'allow-stale'", "'nosuch'", "1", ""])
            ),
            3 => format!("for i = 1, {} do {} end", source.below(50), call(source, 1)),
            4 => format!("local ok, e = pcall(function() return {} end)", call(source, 0)),
            _ => call(source, 0),
        };
        code.push_str(&line);
        code.push('\n');
    }
    match source.below(4) {
        0 => code.push_str(&format!("return {}", value(source, 0))),
        1 => code.push_str(&format!("return {}", call(source, 0))),
        _ => {}
    }
    let mut code = code.into_bytes();
    if source.percent(5) {
        source.mutate(&mut code);
    }
    code
}

fn command(source: &mut Source) -> String {
    let words = super::commands::with_grammar(|grammar| grammar.command(source));
    let quoted = |word: &Vec<u8>| {
        let escaped: String = word.iter().map(|byte| format!("\\{byte:03}")).collect();
        format!("'{escaped}'")
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(", ")
}

pub fn generate(source: &mut Source) -> Vec<u8> {
    script(source)
}

pub fn run(bench: &mut Bench<'_>, input: &[u8]) {
    let lower = input.to_ascii_lowercase();
    let names = |word: &[u8]| lower.windows(word.len()).any(|part| part == word);
    if [&b"debug"[..], b"\\100\\101\\098\\117\\103"].iter().any(|word| names(word)) {
        return;
    }
    let host = bench.host();
    if input.starts_with(b"#!lua name=") {
        host.ask(&[b"FUNCTION", b"LOAD", b"REPLACE", input]);
        for function in [b"f0", b"f1", b"f2"] {
            host.ask(&[b"FCALL", function, b"1", b"k0", b"a", b"1"]);
            host.ask(&[b"FCALL_RO", function, b"0"]);
        }
        host.ask(&[b"FUNCTION", b"LIST", b"WITHCODE"]);
    } else {
        host.ask(&[b"EVAL", input, b"2", b"k0", b"s0", b"a", b"1"]);
        host.ask(&[b"EVAL_RO", input, b"0"]);
        host.ask(&[b"SCRIPT", b"FLUSH"]);
    }
    host.check();
}
