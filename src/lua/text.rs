//! `string`: what a script can make long or large, under its guard. The rest of the library is Lua's own, whose work is
//! bounded by the arguments that it gets.

use super::args::{Args, Text, native, number_text, type_name};
use super::error::{LibError, LibResult};
use super::format;
use super::guard::{Buffer, Guard};
use super::pattern::{Captured, Matcher, SEARCHED_A_STEP, SPECIALS};
use crate::sys::lua_stack::Stack;
use crate::sys::lua_walk::Seen;
use crate::util::c_string;
use memchr::memmem;
use mlua::{Function, Lua, MultiValue, Table, Value};

/// No string is longer than this, whatever the limit of memory is.
const MAX_BYTES: usize = i32::MAX as usize;
/// Bytes that are written between two looks at the guard.
const CHUNK_BYTES: usize = 64 * 1024;

/// Iterates over matches: Lua keeps subject, pattern and place.
const ITERATOR: &str = "
local step = ...
return function(subject, pattern)
  local place = 0
  local function found(next, ...)
    if next then place = next end
    return ...
  end
  return function() return found(step(subject, pattern, place)) end
end";

/// The functions, to take the places of Lua's own.
///
/// # Errors
/// If there is no memory for them.
pub fn library(lua: &Lua) -> mlua::Result<Table> {
    let table = super::args::library(
        lua,
        &[
            ("find", |lua, args, results| find(lua, args, results, true)),
            ("match", |lua, args, results| find(lua, args, results, false)),
            ("rep", rep),
            ("lower", |lua, args, results| map_bytes(lua, args, results, u8::to_ascii_lowercase)),
            ("upper", |lua, args, results| map_bytes(lua, args, results, u8::to_ascii_uppercase)),
            ("reverse", reverse),
            ("format", format::format),
        ],
    )?;
    let calls = Calls {
        pcall: lua.globals().raw_get("pcall")?,
        index: lua.load("local t, k = ... return t[k]").set_name("=prelude").into_function()?,
    };
    table.raw_set(
        "gsub",
        native(lua, move |lua, args, results| gsub(lua, args, results, &calls))?,
    )?;
    let step = native(lua, next_match)?;
    let iterator: Function = lua.load(ITERATOR).set_name("=prelude").call(step)?;
    let gmatch = native(lua, move |lua, args, results| {
        let (subject, pattern) = (args.text(0)?, args.text(1)?);
        let (subject, pattern) = (lua.create_string(&*subject)?, lua.create_string(&*pattern)?);
        Ok(results.push_value(&iterator.call((subject, pattern))?)?)
    })?;
    table.raw_set("gmatch", &gmatch)?;
    table.raw_set("gfind", gmatch)?;
    Ok(table)
}

fn push_integer(n: usize, results: &mut Stack) -> LibResult {
    Ok(results.push_number(n as f64)?)
}

/// Pushes a capture.
fn push_capture(lua: &Lua, guard: &Guard, captured: Captured, results: &mut Stack) -> LibResult {
    match captured {
        Captured::Place(place) => push_integer(place, results),
        Captured::Text(text) => guard.push_text(lua, text, results),
    }
}

/// Pushes all captures of a match, or the whole of it.
fn push_captures(lua: &Lua, guard: &Guard, matcher: &Matcher, results: &mut Stack) -> LibResult {
    matcher.captured().try_for_each(|captured| push_capture(lua, guard, captured?, results))
}

/// A capture as a value.
fn capture_value(lua: &Lua, guard: &Guard, captured: Captured) -> LibResult<Value> {
    match captured {
        Captured::Place(place) => Ok(Value::Integer(place as i64)),
        Captured::Text(text) => {
            guard.charge(lua, text.len())?;
            Ok(Value::String(lua.create_string(text)?))
        }
    }
}

/// `find` and `match`.
fn find(lua: &Lua, args: &Args, results: &mut Stack, places: bool) -> LibResult {
    let guard = args.guard();
    let (subject, pattern) = (args.text(0)?, args.text(1)?);
    let start = match args.int_or(2, 1)? {
        start if start < 0 => start.saturating_add(subject.len() as i64 + 1),
        start => start,
    };
    let start = usize::try_from(start.saturating_sub(1)).unwrap_or(0).min(subject.len());
    let is_plain = || {
        let pattern = c_string(&pattern);
        let explicit = !matches!(args.get(3), Seen::Nil | Seen::Boolean(false));
        explicit || !pattern.iter().any(|byte| SPECIALS.contains(byte))
    };
    if places && is_plain() {
        guard.tick(lua, (subject.len() - start + pattern.len()) / SEARCHED_A_STEP)?;
        return match memmem::find(&subject[start..], &pattern) {
            Some(at) => {
                push_integer(start + at + 1, results)?;
                push_integer(start + at + pattern.len(), results)
            }
            None => Ok(results.push_nil()?),
        };
    }
    let mut matcher = Matcher::new(lua, guard, &subject, &pattern, true);
    let Some((from, to)) = matcher.find(start)? else { return Ok(results.push_nil()?) };
    if !places {
        return push_captures(lua, guard, &matcher, results);
    }
    push_integer(from + 1, results)?;
    push_integer(to, results)?;
    match matcher.captures() {
        0 => Ok(()),
        _ => push_captures(lua, guard, &matcher, results),
    }
}

/// The next match of an iteration, from a place on: where the one behind it begins, and its captures.
fn next_match(lua: &Lua, args: &Args, results: &mut Stack) -> LibResult {
    let guard = args.guard();
    let (subject, pattern) = (args.text(0)?, args.text(1)?);
    let start = usize::try_from(args.int(2)?).unwrap_or(usize::MAX);
    let mut matcher = Matcher::new(lua, guard, &subject, &pattern, false);
    let Some((from, to)) = matcher.find(start)? else { return Ok(()) };
    push_integer(if to == from { to + 1 } else { to }, results)?;
    push_captures(lua, guard, &matcher, results)
}

/// Functions of Lua's that `gsub` needs.
struct Calls {
    pcall: Function,
    /// What is in a table, by whatever metamethods it has.
    index: Function,
}

/// What `gsub` writes for a match.
enum Replacement<'a> {
    Plain(Text<'a>),
    /// In which there is `%`, which is special.
    Text(Text<'a>),
    Table(Table),
    Function(Function),
}

fn gsub(lua: &Lua, args: &Args, results: &mut Stack, calls: &Calls) -> LibResult {
    let guard = args.guard();
    let (subject, pattern) = (args.text(0)?, args.text(1)?);
    let most = args.int_or(3, subject.len() as i64 + 1)?;
    let replacement = match args.get(2) {
        Seen::Text(_) | Seen::Number(_) => match args.text(2)? {
            text if text.contains(&b'%') => Replacement::Text(text),
            text => Replacement::Plain(text),
        },
        _ => match args.value(lua, 2)? {
            Value::Table(table) => Replacement::Table(table),
            Value::Function(function) => Replacement::Function(function),
            _ => return Err(args.bad(2, "string/function/table expected")),
        },
    };
    let mut matcher = Matcher::new(lua, guard, &subject, &pattern, true);
    let mut out = Buffer::new(lua, guard);
    // `copied`: up to there the subject is in the result.
    let (mut at, mut copied, mut count) = (0, 0, 0);
    while count < most
        && let Some((start, end)) = matcher.find(at)?
    {
        count += 1;
        if copied < start {
            out.extend(&subject[copied..start])?;
        }
        replacement.append(lua, guard, calls, &matcher, &mut out)?;
        (at, copied) = (end, end);
        if end == start {
            if end == subject.len() {
                break;
            }
            at += 1;
        }
        if matcher.is_anchored {
            break;
        }
    }
    out.extend(&subject[copied..])?;
    out.push_to(results)?;
    Ok(results.push_number(count as f64)?)
}

impl Replacement<'_> {
    fn append(
        &self,
        lua: &Lua,
        guard: &Guard,
        calls: &Calls,
        matcher: &Matcher,
        out: &mut Buffer,
    ) -> LibResult {
        let value = match self {
            Replacement::Plain(text) => return out.extend(text),
            Replacement::Text(text) => return append_text(text, matcher, out),
            Replacement::Table(table) => {
                let key = capture_value(lua, guard, matcher.capture(0)?)?;
                match table.has_metatable() {
                    false => table.raw_get(key)?,
                    true => {
                        let args = MultiValue::from_iter([Value::Table(table.clone()), key]);
                        guard.call(lua, &calls.pcall, &calls.index, args)?
                    }
                }
            }
            Replacement::Function(function) => {
                let captured = matcher.captured();
                let args: LibResult<_> =
                    captured.map(|captured| capture_value(lua, guard, captured?)).collect();
                let args = args?;
                guard.call(lua, &calls.pcall, function, args)?
            }
        };
        match value {
            Value::Nil | Value::Boolean(false) => out.extend(matcher.whole()),
            Value::String(text) => out.extend(&text.as_bytes()),
            Value::Integer(n) => out.extend(&number_text(n as f64)),
            Value::Number(x) => out.extend(&number_text(x)),
            other => {
                Err(LibError::from(format!("invalid replacement value (a {})", type_name(&other))))
            }
        }
    }
}

/// The text of a replacement, in which `%0` stands for the match, and `%1` to `%9` for captures.
fn append_text(text: &[u8], matcher: &Matcher, out: &mut Buffer) -> LibResult {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'%', rest) {
        out.extend(&rest[..at])?;
        // C's text ends with a zero byte, which may be escaped, too.
        let escaped = rest.get(at + 1).copied().unwrap_or(0);
        rest = rest.get(at + 2..).unwrap_or_default();
        match escaped {
            b'0' => out.extend(matcher.whole())?,
            b'1'..=b'9' => match matcher.capture(usize::from(escaped - b'1'))? {
                Captured::Text(text) => out.extend(text)?,
                Captured::Place(place) => out.extend(place.to_string().as_bytes())?,
            },
            other => out.extend(&[other])?,
        }
    }
    out.extend(rest)
}

fn rep(lua: &Lua, args: &Args, results: &mut Stack) -> LibResult {
    let (text, times) = (args.text(0)?, args.int(1)?);
    let times = usize::try_from(times).unwrap_or(0);
    let len = text.len().checked_mul(times).filter(|&len| len <= MAX_BYTES);
    let len = len.ok_or("resulting string too large")?;
    let mut out = Buffer::new(lua, args.guard());
    out.room_for(len)?;
    // As much at once as makes writing it worth while.
    let at_once = (CHUNK_BYTES / text.len().max(1)).clamp(1, times.max(1));
    let block = text.repeat(at_once);
    while out.len() < len {
        let more = block.len().min(len - out.len());
        out.extend(&block[..more])?;
    }
    out.push_to(results)
}

fn map_bytes(lua: &Lua, args: &Args, results: &mut Stack, map: fn(&u8) -> u8) -> LibResult {
    let text = args.text(0)?;
    let mut out = Buffer::new(lua, args.guard());
    out.room_for(text.len())?;
    for chunk in text.chunks(CHUNK_BYTES) {
        out.extend_from(chunk.iter().map(map))?;
    }
    out.push_to(results)
}

fn reverse(lua: &Lua, args: &Args, results: &mut Stack) -> LibResult {
    let text = args.text(0)?;
    let mut out = Buffer::new(lua, args.guard());
    out.room_for(text.len())?;
    for chunk in text.rchunks(CHUNK_BYTES) {
        out.extend_from(chunk.iter().rev().copied())?;
    }
    out.push_to(results)
}

/// `table.concat`.
pub fn concat(lua: &Lua, args: &Args, stack: &mut Stack) -> LibResult {
    if args.get(0) != Seen::Table {
        return Err(args.expected(0, "table"));
    }
    let separator = match args.get(1) {
        Seen::Nil => Text::String(b""),
        _ => args.text(1)?,
    };
    args.push(0, stack)?;
    let first = args.int_or(2, 1)?;
    let last = match args.get(3) {
        Seen::Nil => stack.table_len() as i64,
        _ => args.int(3)?,
    };
    let mut out = Buffer::new(lua, args.guard());
    for i in first..=last {
        stack.push_number(i as f64)?;
        stack.look_up();
        match stack.top() {
            Seen::Text(text) => out.extend(text)?,
            Seen::Number(x) => out.extend(&number_text(x))?,
            other => {
                return Err(LibError::from(format!(
                    "invalid value ({}) at index {i} in table for 'concat'",
                    other.type_name()
                )));
            }
        }
        stack.pop(1);
        if i < last {
            out.extend(&separator)?;
        }
    }
    stack.truncate(0);
    out.push_to(stack)
}

#[cfg(test)]
mod tests {
    //! Lua's own library is the oracle: the same calls are made in a plain state.

    use crate::lua::engine::{Engine, Host, Purpose};
    use mlua::{Function, IntoLuaMulti, Lua};
    use proptest::prelude::*;

    const SHOW: &str = "
        local function show(ok, ...)
          local out = {tostring(ok)}
          for i = 1, select('#', ...) do
            local value = select(i, ...)
            out[#out + 1] = type(value) .. ' ' .. tostring(value)
          end
          return table.concat(out, '|')
        end
        ";

    /// The same code in Lua as it is, and as scripts find it.
    struct Both {
        plain: (Lua, Function),
        ours: (Engine, Function),
    }

    impl Both {
        fn new(code: &str) -> Both {
            let code = [SHOW, code].concat();
            let (plain, engine) =
                (Lua::new(), Engine::new(Purpose::Scripts, Host::nobody()).unwrap());
            let in_plain = plain.load(&code).set_name("=both").into_function().unwrap();
            let chunk =
                engine.lua.load(&code).set_name("=both").set_environment(engine.env.clone());
            let in_ours = chunk.into_function().unwrap();
            Both { plain: (plain, in_plain), ours: (engine, in_ours) }
        }

        fn check(&self, args: impl IntoLuaMulti + Clone) -> Result<(), TestCaseError> {
            let plain: mlua::LuaString = self.plain.1.call(args.clone()).unwrap();
            let ours: mlua::LuaString = self.ours.1.call(args).unwrap();
            let text = |text: &mlua::LuaString| text.as_bytes().escape_ascii().to_string();
            prop_assert_eq!(text(&ours), text(&plain));
            Ok(())
        }
    }

    fn subject() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(&b"aab1 (x)[]%-.\0\n\xff"[..]), 0..14)
    }

    const PIECES: &[&[u8]] = &[
        b"a", b"b", b".", b"%a", b"%d", b"%s", b"%W", b"%z", b"%(", b"[ab]", b"[^a]", b"[a-c%d]",
        b"[]]", b"[^]x]", b"[a-]", b"[%a-x]", b"*", b"+", b"-", b"?", b"(", b")", b"()", b"%1",
        b"%2", b"%b()", b"%bxx", b"%f[a]", b"%f[%W]", b"^", b"$", b"%", b"[", b"%f", b"%b", b"%%",
        b"\xff", b"\0", b"%0",
    ];

    fn pattern() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(PIECES);
        prop::collection::vec(piece, 0..7).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

        #[test]
        fn patterns_match_as_in_lua(subject in subject(), pattern in pattern(), start in -16_i64..16) {
            thread_local! {
                static BOTH: Both = Both::new("
                    local s, p, start = ...
                    local matches = {}
                    local ok, err = pcall(function()
                      for a, b, c in string.gmatch(s, p) do matches[#matches + 1] = show(a, b, c) end
                    end)
                    matches[#matches + 1] = show(ok, ok or err:gsub('^[^ ]*: ', ''))
                    return show(pcall(string.find, s, p, start)) .. show(pcall(string.match, s, p, start))
                      .. show(pcall(string.find, s, p, start, true)) .. table.concat(matches)
                ");
            }
            BOTH.with(|both| both.check((bytes(subject), bytes(pattern), start)))?;
        }

        #[test]
        fn matches_are_replaced_as_in_lua(
            subject in subject(),
            pattern in pattern(),
            text in prop::sample::select(vec!["", "x", "<%0>", "%1", "%2", "%%", "%", "%x", "%1%1-"]),
            most in prop::option::of(-1_i64..4),
        ) {
            thread_local! {
                static BOTH: Both = Both::new("
                    local s, p, text, most = ...
                    local function f(a, b)
                      if a == 'a' then return 'A' elseif a == 'b' then return false elseif a == '1' then return 2 end
                      if b == 'x' then return {} elseif a == 'x' then error('raised', 0) end
                    end
                    local function twice(_, k) return k .. k end
                    local t = setmetatable({a = 'A', b = false, [1] = 'one'}, {__index = twice})
                    return show(pcall(string.gsub, s, p, text, most)) .. show(pcall(string.gsub, s, p, f, most))
                      .. show(pcall(string.gsub, s, p, t, most))
                      .. show(pcall(string.gsub, s, p, {a = 1, [2] = 3}, most))
                ");
            }
            BOTH.with(|both| both.check((bytes(subject), bytes(pattern), text, most)))?;
        }

        #[test]
        fn numbers_are_formatted_as_in_lua(
            flags in "[-+ #0]{0,3}",
            width in "[0-9]{0,2}",
            precision in "(\\.[0-9]{0,2})?",
            letter in prop::sample::select(&b"diouxXeEfgGcsq"[..]),
            number in prop_oneof![
                any::<f64>(), -1000.0..1000.0, (-70_000_i64..70_000).prop_map(|n| n as f64),
                prop::sample::select(vec![0.0, -0.0, 0.5, 1.5, 2.5, 1e15, 1e100, 5e-324, 2e19, -1e10, f64::INFINITY]),
            ],
        ) {
            thread_local! {
                static BOTH: Both = Both::new("return show(pcall(string.format, ...)) .. tostring(select(2, ...))");
            }
            let template = format!("<%{flags}{width}{precision}{}>", letter as char);
            BOTH.with(|both| both.check((template, number)))?;
        }

        #[test]
        fn texts_are_formatted_as_in_lua(
            template in "(%[-0]{0,2}[0-9]{0,3}(\\.[0-9]{0,3})?[sqcdz%]|a|%){0,5}",
            text in prop::collection::vec(prop::sample::select(&b"ab\"\\\n\r\0\xff"[..]), 0..120),
        ) {
            thread_local! {
                static BOTH: Both = Both::new("return show(pcall(string.format, ...))");
            }
            BOTH.with(|both| both.check((template, bytes(text), 65, "b", "")))?;
        }

        #[test]
        fn tables_change_as_in_lua(
            items in prop::collection::vec(0_i64..20, 0..30),
            order in prop::sample::select(vec!["<", ">", "<=", "true", "false", "nil", "odd"]),
            place in -3_i64..33,
        ) {
            thread_local! {
                static BOTH: Both = Both::new("
                    local order, place = ...
                    local t, all = {select(3, ...)}, {}
                    local function note(...) all[#all + 1] = show(...) .. '/' .. table.concat(t, ',') end
                    local orders = {
                      ['>'] = function(a, b) return a > b end, ['<='] = function(a, b) return a <= b end,
                      ['true'] = function() return true end, ['false'] = function() return false end,
                      odd = function(a, b) return (a or 0) % 2 < (b or 0) % 2 end,
                    }
                    note(pcall(table.sort, t, orders[order]))
                    note(pcall(table.insert, t, place > 0 and math.min(place, #t + 1) or 1, 7))
                    note(pcall(table.insert, t, 8))
                    note(pcall(table.remove, t, place))
                    note(pcall(table.remove, t))
                    note(pcall(table.concat, t, '-', place))
                    note(pcall(table.concat, t, 1, 1, place))
                    note(table.maxn(t), table.foreachi(t, function(i, v) if v == place then return i end end))
                    t[#t + 1] = 'x'
                    note(pcall(table.sort, t))
                    return table.concat(all, ' ')
                ");
            }
            BOTH.with(|both| both.check((order, place, mlua::Variadic::from_iter(items))))?;
        }
    }

    fn bytes(bytes: Vec<u8>) -> mlua::BString {
        bytes.into()
    }
}
