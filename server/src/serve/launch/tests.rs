//! One golden plan for each row of the table.

use serde_json::{Value, json};

use super::*;

fn ready() -> Ready {
    Ready {
        set: vec![
            (b"POD".to_vec(), b"1".to_vec()),
            (b"BOTH".to_vec(), b"pod".to_vec()),
            (SESSION.as_bytes().to_vec(), b"s".to_vec()),
        ],
        unset: vec!["aws_profile".to_owned()],
        from_pod: 2,
        takes_connections: true,
        session: "abc".to_owned(),
        log: String::new(),
    }
}

fn facts(debugger: &str, configuration: Value) -> LaunchFacts {
    let configuration = configuration.as_object().cloned();
    LaunchFacts { debugger: debugger.to_owned(), configuration, ..LaunchFacts::default() }
}

fn plan(debugger: &str, configuration: Value) -> LaunchPlan {
    let inherited =
        BTreeMap::from([("AWS_PROFILE".to_owned(), "x".into()), ("LD_PRELOAD".to_owned(), "/own.so".into())]);
    let launch = Launch::new(&facts(debugger, configuration), Path::new("/work"))
        .unwrap_or_else(|problem| panic!("{}", problem.message));
    launch.plan(&ready(), Path::new("/layer.so"), &inherited)
}

const SESSION: &str = protocol::layer::SESSION_VARIABLE;
const ENVIRONMENT: &str = protocol::layer::ENVIRONMENT_VARIABLE;

/// What every `env` has in it.
fn env(removed: &Value) -> Value {
    json!({ "POD": "1", "BOTH": "launch", "LD_PRELOAD": "/layer.so:/own.so", SESSION: "s", "AWS_PROFILE": removed })
}

#[test]
fn every_debugger_gets_the_environment_in_its_own_form() {
    let own = json!({ "env": { "BOTH": "launch" } });
    let (null, empty) = (Value::Null, json!(""));
    for (debugger, removed) in [
        ("node", &null),
        ("pwa-node", &null),
        ("node-terminal", &null),
        ("lldb", &empty),
        ("lldb-dap", &empty),
        ("coreclr", &empty),
        ("clr", &empty),
        ("php", &empty),
        ("rdbg", &empty),
        ("ruby_lsp", &empty),
        ("unheard-of", &empty),
    ] {
        let plan = plan(debugger, own.clone());
        assert_eq!(Value::Object(plan.configuration), json!({ "env": env(removed) }), "{debugger}");
        assert_eq!(plan.unset, ["AWS_PROFILE"], "{debugger}");
    }
}

#[test]
fn a_variable_that_the_launch_removes_is_not_the_pods_either() {
    for (value, is_there) in [(Value::Null, false), (json!("own"), true)] {
        let plan = plan("node", json!({ "env": { "POD": value.clone(), "OTHER": null } }));
        let env = &plan.configuration["env"];
        assert_eq!((&env["POD"], env.get("OTHER")), (&value, Some(&Value::Null)));
        assert_eq!(plan.unset.contains(&"POD".to_owned()), !is_there);
    }
    let typed = plan("node", json!({ "env": { "POD": null }, "console": "integratedTerminal" }));
    assert_eq!((&typed.configuration["env"]["POD"], &typed.set[ENVIRONMENT]), (&Value::Null, &"POD".to_owned()));
}

#[test]
fn a_terminal_shows_no_values_of_the_pod() {
    let own = |console: &str| json!({ "env": { "BOTH": "launch", "OWN": "1" }, "console": console });
    let hidden = json!({ "env": {
        "BOTH": "launch", "OWN": "1", "LD_PRELOAD": "/layer.so:/own.so", SESSION: "s", ENVIRONMENT: "BOTH,OWN",
    } });
    for (debugger, usual) in
        [("node", false), ("pwa-node", false), ("python", true), ("debugpy", true), ("java", true), ("terminal", true)]
    {
        let of = |configuration: Value| Value::Object(plan(debugger, configuration).configuration);
        assert_eq!(of(own("integratedTerminal")), hidden, "{debugger}");
        let shown = of(own("internalConsole"));
        assert_eq!((&shown["env"]["POD"], &shown["env"][ENVIRONMENT]), (&json!("1"), &Value::Null), "{debugger}");
        assert_eq!(of(json!({}))["env"].get(ENVIRONMENT).is_some(), usual, "{debugger}");
    }
}

#[test]
fn cppdbg_gets_a_list() {
    let plan =
        plan("cppdbg", json!({ "environment": [{ "name": "BOTH", "value": "launch" }], "program": "/bin/true" }));
    let expected = json!({ "environment": [
        { "name": "BOTH", "value": "launch" },
        { "name": "LD_PRELOAD", "value": "/layer.so:/own.so" },
        { "name": SESSION, "value": "s" },
        { "name": "POD", "value": "1" },
        { "name": "AWS_PROFILE", "value": "" },
    ] });
    let sorted = |value: Value| {
        let mut list = value["environment"].as_array().cloned().unwrap_or_default();
        list.sort_by_key(|entry| entry["name"].to_string());
        list
    };
    assert_eq!(sorted(Value::Object(plan.configuration)), sorted(expected));
}

#[test]
fn go_is_not_yet() {
    for debugger in ["go", "dlv"] {
        let problem = Launch::new(&facts(debugger, json!({})), Path::new("/")).err().expect("refused");
        assert_eq!(problem.code, "not-yet");
    }
}

#[test]
fn every_row_has_a_test() {
    let text = include_str!("tests.rs");
    for name in DEBUGGERS.iter().flat_map(|row| row.types) {
        assert!(text.contains(&format!("\"{name}\"")), "{name}");
    }
}

#[test]
fn ports_of_debuggers_are_reserved() {
    for (debugger, configuration, ports) in [
        ("node", json!({ "port": 9229 }), vec![9229]),
        ("php", json!({ "port": 9003 }), vec![9003]),
        ("rdbg", json!({ "debugPort": 12345 }), vec![12345]),
        ("debugpy", json!({ "debugServer": 5678 }), vec![5678]),
        ("node", json!({ "port": 0 }), vec![]),
        ("cppdbg", json!({}), vec![]),
    ] {
        assert_eq!(plan(debugger, configuration).debugger_ports, ports, "{debugger}");
    }
}

#[test]
fn a_program_that_the_layer_cannot_enter_is_refused() {
    let check = |debugger: &str, configuration: Value| {
        let launch = Launch::new(&facts(debugger, configuration), Path::new("/"))
            .unwrap_or_else(|problem| panic!("{}", problem.message));
        launch.check().map_err(|failure| failure.message)
    };
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("script");
    std::fs::write(&script, "#!/no/such/interpreter\n").expect("written");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    assert!(check("lldb", json!({ "program": script })).expect_err("refused").contains("interpreter"));
    assert_eq!(check("lldb", json!({ "program": "/bin/true" })), Ok(()));
    assert_eq!(check("debugpy", json!({ "python": ["/bin/sh", "-x"] })), Ok(()));
    assert_eq!(check("node", json!({ "runtimeExecutable": "${command:pick}" })), Ok(()));
    assert_eq!(check("lldb", json!({ "program": "/no/such/program" })), Ok(()), "the debugger says so");
}

#[test]
fn variables_of_the_env_file_count() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join(".env"), "BOTH=file\nOTHER=file\n").expect("written");
    let facts = facts("node", json!({ "envFile": ".env", "env": { "OTHER": "launch" } }));
    let launch = Launch::new(&facts, folder.path()).unwrap_or_else(|problem| panic!("{}", problem.message));
    let plan = launch.plan(&ready(), Path::new("/layer.so"), &BTreeMap::new());
    assert_eq!((plan.set["BOTH"].as_str(), plan.set["OTHER"].as_str()), ("file", "launch"));
}
