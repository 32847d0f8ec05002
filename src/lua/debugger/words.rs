//! What the debugger says: in Redis's words, or in Valkey's, which name no Redis.

/// The words that differ.
#[derive(Debug)]
pub struct Words {
    debugger: &'static str,
    /// The line of the help about calling a command.
    call: &'static str,
    /// What comes before "replies".
    replies_of: &'static str,
    library: &'static str,
}

pub const REDIS: Words = Words {
    debugger: "Redis Lua debugger",
    call: "[r]edis <cmd>        Execute a Redis command.",
    replies_of: "Redis ",
    library: "redis",
};

pub const VALKEY: Words = Words {
    debugger: "Lua debugger",
    call: "[v]alkey <cmd>       Execute a command.",
    replies_of: "",
    library: "server",
};

impl Words {
    pub fn unknown_command(&self) -> String {
        format!("<error> Unknown {} command or wrong number of arguments.", self.debugger)
    }

    /// Why a script stops that has called for it.
    pub fn breakpoint_called(&self) -> String {
        format!("{}.breakpoint() called", self.library)
    }

    /// The lines that `help` shows.
    pub fn help(&self) -> String {
        let Words { debugger, call, replies_of, library } = self;
        let [debug, breakpoint] =
            ["debug()", "breakpoint()"].map(|name| format!("{library}.{name}"));
        format!(
            "\
{debugger} help:
[h]elp               Show this help.
[s]tep               Run current line and stop again.
[n]ext               Alias for step.
[c]ontinue           Run till next breakpoint.
[l]ist               List source code around current line.
[l]ist [line]        List source code around [line].
                     line = 0 means: current position.
[l]ist [line] [ctx]  In this form [ctx] specifies how many lines
                     to show before/after [line].
[w]hole              List all source code. Alias for 'list 1 1000000'.
[p]rint              Show all the local variables.
[p]rint <var>        Show the value of the specified variable.
                     Can also show global vars KEYS and ARGV.
[b]reak              Show all breakpoints.
[b]reak <line>       Add a breakpoint to the specified line.
[b]reak -<line>      Remove breakpoint from the specified line.
[b]reak 0            Remove all breakpoints.
[t]race              Show a backtrace.
[e]val <code>        Execute some Lua code (in a different callframe).
{call}
[m]axlen [len]       Trim logged {replies_of}replies and Lua var dumps to len.
                     Specifying zero as <len> means unlimited.
[a]bort              Stop the execution of the script. In sync
                     mode dataset changes will be retained.

Debugger functions you can call from Lua scripts:
{debug:<21}Produce logs in the debugger console.
{breakpoint:<21}Stop execution like if there was a breakpoint in the
                     next line of code."
        )
    }
}
