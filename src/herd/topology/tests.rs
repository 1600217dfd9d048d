//! Tests of the topology: the layout and completeness of errors, and the shapes of known herds.

use proptest::prelude::*;

use super::*;

const DEFAULT: &str = include_str!("../../../topology.txt");
const BOLDEN: &str = include_str!("../../../tests/topologies/bolden.txt");
const FARMAR: &str = include_str!("../../../tests/topologies/farmar.txt");

fn good(text: &str) -> Topology {
    let (topology, warnings) = Topology::parse("topology.txt", text).unwrap();
    assert_eq!(warnings, []);
    topology
}

fn errors(text: &str) -> Vec<String> {
    let errors = Topology::parse("t", text).unwrap_err();
    errors.problems.iter().map(|p| format!("{}:{}: {}", p.line, p.column, p.message)).collect()
}

fn warnings(text: &str) -> Vec<String> {
    let (_, warnings) = Topology::parse("t", text).unwrap();
    warnings.iter().map(ToString::to_string).collect()
}

/// `Alford: Hamilton Welsh; Ball: …`
fn links(topology: &Topology) -> String {
    let of = |id| {
        let names: Vec<_> = topology.neighbours(id).iter().map(|&id| topology.name(id)).collect();
        format!("{}: {}", topology.name(id), names.join(" "))
    };
    topology.ids().map(of).collect::<Vec<_>>().join("; ")
}

#[test]
fn a_link_named_on_one_side_stands_for_both() {
    assert_eq!(
        links(&good(DEFAULT)),
        "Alford: Hamilton Welsh; Ball: Holiday Welsh; Hamilton: Alford Holiday; \
         Holiday: Ball Hamilton; Welsh: Alford Ball"
    );
    assert_eq!(
        links(&good(BOLDEN)),
        "Alford: Parker Powell; Bolden: Parker Powell; Hamilton: Parker; \
         Parker: Alford Bolden Hamilton; Powell: Alford Bolden"
    );
    assert_eq!(
        links(&good(FARMAR)),
        "Farmar: Meeks Young; Gasol: Meeks Young; Hill: Meeks; \
         Meeks: Farmar Gasol Hill; Young: Farmar Gasol"
    );
    let both_sides = good("A h:1 B\nB h:2 A");
    assert_eq!(links(&both_sides), "A: B; B: A");
    assert_eq!(both_sides.link_count(), 1);
}

#[test]
fn comments_blank_lines_tabs_crlf_and_a_byte_order_mark_are_fine() {
    let text = "\u{FEFF}# all\r\n\r\n\tA\t127.0.0.1:1\tB# and more\r\n  \r\nB h:2 #A\r\n#";
    assert_eq!(links(&good(text)), "A: B; B: A");
}

#[test]
fn servers_are_found_by_name_and_know_their_address() {
    let topology = good("A [::1]:11550 B C\nB kiwi.cs.ucla.edu:2\nC 127.0.0.1:65535");
    let server = |name: &str| topology.server(topology.by_name(name.as_bytes()).unwrap()).unwrap();
    let said: Vec<_> = ["A", "B", "C"].map(server).iter().map(|s| s.address()).collect();
    assert_eq!(said, ["[::1]:11550", "kiwi.cs.ucla.edu:2", "127.0.0.1:65535"]);
    assert_eq!((server("A").host.as_str(), server("A").port), ("::1", 11550));
    assert!(server("A").ip().unwrap().is_loopback() && server("C").ip().unwrap().is_loopback());
    assert_eq!(server("B").ip(), None);
    assert_eq!(topology.by_name(b"a"), None);
    assert_eq!(topology.by_name(b""), None);
}

#[test]
fn an_error_is_file_line_column_sentence_then_the_line_and_a_caret() {
    let text = DEFAULT.replace("Holiday Welsh", "Holliday Welsh");
    let errors = Topology::parse("topology.txt", &text).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "topology.txt:3:32: unknown server \"Holliday\" (did you mean \"Holiday\"?)\n\
         Ball        127.0.0.1:11551    Holliday Welsh\n\
         \x20                              ^"
    );
}

#[test]
fn columns_count_characters_and_the_caret_lines_up_under_tabs() {
    let errors = Topology::parse("t", "Ä\th:1\tB\u{1b}\nB\th:2").unwrap_err().to_string();
    assert!(
        errors.contains("\nt:1:7: unknown server \"B\\u{1b}\" (did you mean \"B\"?)\n"),
        "{errors}"
    );
    assert!(errors.ends_with("\nÄ\th:1\tB\u{FFFD}\n \t   \t^"), "{errors}");
}

#[test]
fn every_fault_is_told_in_the_order_of_the_file() {
    let text = "\
        Alford  127.0.0.1:11550  Hamiton Alford\n\
        Alford  127.0.0.1:11551\n\
        Welsh\n\
        Hamilton 127.0.0.1:11550 Welsh alford Nobody\n\
        x/y 127.0.0.1:0\n\
        alford h:99999 x/y\n";
    assert_eq!(
        errors(text),
        [
            "1:26: unknown server \"Hamiton\" (did you mean \"Hamilton\"?)",
            "1:34: server \"Alford\" is its own neighbour",
            "2:1: name \"Alford\" already stands in line 1",
            "3:1: server \"Welsh\" has no address, as in 127.0.0.1:11550",
            "4:10: address \"127.0.0.1:11550\" is already that of line 1",
            "4:39: unknown server \"Nobody\"",
            "5:1: name \"x/y\" should be letters and digits (and - or _ after the first), since it \
             names files and certificates too",
            "5:15: bad port \"0\": it is a number from 1 to 65535",
            "6:1: name \"alford\" already stands in line 1 as \"Alford\", and case alone does not \
             tell them apart",
            "6:10: bad port \"99999\": it is a number from 1 to 65535",
        ]
    );
}

#[test]
fn a_bad_address_is_told_with_its_place() {
    let told = [
        ("h", "1:3: address \"h\" has no port, as in 127.0.0.1:11550"),
        ("h:", "1:5: bad port \"\": it is a number from 1 to 65535"),
        ("h:+80", "1:5: bad port \"+80\": it is a number from 1 to 65535"),
        ("h:65536", "1:5: bad port \"65536\": it is a number from 1 to 65535"),
        (":80", "1:3: the address has no host before its port"),
        ("[::1]:x", "1:9: bad port \"x\": it is a number from 1 to 65535"),
        ("[::1]", "1:3: address \"[::1]\" has no port, as in 127.0.0.1:11550"),
        ("[::1]80", "1:3: address \"[::1]80\" has no port, as in 127.0.0.1:11550"),
        ("[::1", "1:3: address \"[::1\" lacks its closing bracket"),
        ("[h]:80", "1:4: \"h\" is no IPv6 address"),
        ("::1:80", "1:3: address \"::1:80\": IPv6 goes in brackets, as in [::1]:11550"),
        ("127.0.0.256:80", "1:3: \"127.0.0.256\" is no IPv4 address"),
        ("a..b:80", "1:3: bad host name \"a..b\""),
        ("-a:80", "1:3: bad host name \"-a\""),
        ("a/b:80", "1:3: bad host name \"a/b\""),
    ];
    for (address, error) in told {
        assert_eq!(errors(&format!("A {address}")), [error]);
    }
    assert_eq!(errors(&format!("A {}:1", "a.".repeat(127) + "b")).len(), 1);
    assert_eq!(errors(&format!("A {}.b:1", "a".repeat(64))).len(), 1);
    good(&format!("A {}:1", "a.".repeat(126) + "b"));
}

#[test]
fn one_address_in_two_spellings_is_one_address() {
    for (a, b) in [
        ("[::1]:1", "[0:0:0:0:0:0:0:1]:1"),
        ("127.0.0.1:1", "[::ffff:127.0.0.1]:1"),
        ("kiwi:1", "KIWI:1"),
    ] {
        let error = format!("2:3: address {b:?} is already that of line 1");
        assert_eq!(errors(&format!("A {a} B\nB {b}")), [error]);
    }
    good("A kiwi:1 B\nB kiwi:2");
}

#[test]
fn links_may_have_an_address_of_their_own() {
    let topology = good(
        "A 127.0.0.1:1 links=127.0.0.1:2 B\nB kiwi:1 A links=[::1]:3 # with names before it\nC h:9 A",
    );
    let dialled: Vec<_> = topology.ids().map(|id| topology.server(id).unwrap().dialled()).collect();
    assert_eq!(
        dialled.iter().map(Endpoint::address).collect::<Vec<_>>(),
        ["127.0.0.1:2", "[::1]:3", "h:9"]
    );
    assert_eq!(links(&topology), "A: B C; B: A; C: A");
    let addresses = topology.ids().map(|id| topology.server(id).unwrap().address());
    assert_eq!(addresses.collect::<Vec<_>>(), ["127.0.0.1:1", "kiwi:1", "h:9"]);
    assert!(
        describe(&topology).starts_with(
            "name  address      links        talks with\n\
             A     127.0.0.1:1  127.0.0.1:2  B, C\n\
             B     kiwi:1       [::1]:3      A\n\
             C     h:9          -            A\n"
        ),
        "{}",
        describe(&topology)
    );
}

#[test]
fn faults_of_addresses_for_links_are_told_with_their_places() {
    assert_eq!(
        errors(
            "\
            A h:1 links=h:1 B\n\
            B h:2 links=h:1\n\
            C h:3 links=h:4 links=h:5 A\n\
            D h:4 links= A\n\
            E h:6 links=[::1 A\n\
            F links=h:7\n\
            G h:8 link=h:9 A=B\n"
        ),
        [
            "1:13: links need an address of their own, and \"h:1\" is for clients",
            "2:13: address \"h:1\" is already that of line 1",
            "3:17: a second address for links: a server has one",
            "4:3: address \"h:4\" is already that of line 3",
            "4:13: the address has no host before its port",
            "5:13: address \"[::1\" lacks its closing bracket",
            "6:1: server \"F\" has no address, as in 127.0.0.1:11550",
            "7:7: unknown setting \"link\": there is only \"links=\"",
            "7:16: unknown setting \"A\": there is only \"links=\"",
        ]
    );
}

#[test]
fn an_address_that_no_neighbour_could_dial_is_a_fault_where_there_are_neighbours() {
    let why = "is no address that a neighbour can dial: name one of this server's, and listen there \
               with --listen";
    for unspecified in ["0.0.0.0:7", "[::]:7", "[::ffff:0.0.0.0]:7", "[0::0]:7"] {
        let fault = |place: &str| [format!("{place}: \"{unspecified}\" {why}")];
        assert_eq!(errors(&format!("A {unspecified}\nB h:2 A")), fault("1:3"));
        assert_eq!(errors(&format!("A h:1\nB h:2 links={unspecified} A")), fault("2:13"));
        good(&format!("A {unspecified}"));
    }
}

#[test]
fn a_file_without_servers_is_refused() {
    for text in ["", "\n\n", "# nobody\n"] {
        let [error] = &errors(text)[..] else { panic!("{text:?}") };
        assert!(error.starts_with("1:1: no servers"), "{error}");
    }
}

#[test]
fn a_server_that_no_link_reaches_is_a_warning_in_the_same_layout() {
    assert_eq!(
        warnings("A h:1 B\nB h:2\n  C h:3"),
        ["t:3:3: warning: server \"C\" talks with nobody: no link reaches it\n  C h:3\n  ^"]
    );
    assert_eq!(warnings("A h:1"), [""; 0]);
}

#[test]
fn a_neighbour_named_twice_is_a_warning() {
    assert_eq!(
        warnings("A h:1 B B\nB h:2"),
        ["t:1:9: warning: neighbour \"B\" is named twice\nA h:1 B B\n        ^"]
    );
}

#[test]
fn suggestions_are_near_or_not_made() {
    let text = |wrong: &str| format!("Hamilton h:1 {wrong}\nHill h:2\nB h:3");
    for (wrong, meant) in [
        ("hamilton", "Hamilton"),
        ("Hamilton,", "Hamilton"),
        ("Hmailton", "Hamilton"),
        ("Hil", "Hill"),
        ("b", "B"),
    ] {
        let error = format!("1:14: unknown server {wrong:?} (did you mean {meant:?}?)");
        assert_eq!(errors(&text(wrong)), [error]);
    }
    for wrong in ["Wilkinson", "Hxxl", "CD"] {
        assert_eq!(errors(&text(wrong)), [format!("1:14: unknown server {wrong:?}")]);
    }
}

#[test]
fn a_misspelt_name_on_a_command_line_has_a_suggestion_too() {
    let topology = good(DEFAULT);
    assert_eq!(topology.nearest_name("Holliday"), Some("Holiday"));
    assert_eq!(topology.nearest_name("Wilkinson"), None);
}

#[test]
fn the_bounds_hold() {
    let servers = |count: usize| -> String {
        (1..=count).flat_map(|port| [format!("S{port} h:{port}"), "\n".into()]).collect()
    };
    let (topology, _) = Topology::parse("t", &servers(SERVERS_MAX)).unwrap();
    assert_eq!(topology.len(), SERVERS_MAX);
    assert_eq!(errors(&servers(SERVERS_MAX + 5)), ["257:1: a herd has at most 256 servers"]);

    good(&format!("{} h:1", "n".repeat(NAME_MAX_BYTES)));
    let [error] = &errors(&format!("{} h:1", "n".repeat(NAME_MAX_BYTES + 1)))[..] else { panic!() };
    assert!(error.contains("is longer than 63 bytes"), "{error}");

    let long = format!("A h:1 {}", "#".repeat(LINE_MAX_BYTES - 6));
    good(&long);
    let refused = Topology::parse("t", &(long + "#")).unwrap_err();
    assert!(refused.problems[0].message.contains("this line has 16385 bytes"), "{refused}");
    assert!(refused.problems[0].text.len() < 100);

    let comment = "#".repeat(1023) + "\n";
    let full = "A h:1 \n".to_owned() + &comment.repeat(FILE_MAX_BYTES / 1024 - 1);
    good(&full);
    let [error] = &errors(&(full + &comment))[..] else { panic!() };
    assert!(error.starts_with("257:1: the file has 262151 bytes"), "{error}");

    let rubbish = format!("A h:1 {}", "x ".repeat(PROBLEMS_MAX + 7));
    let refused = Topology::parse("t", &rubbish).unwrap_err();
    assert_eq!((refused.problems.len(), refused.omitted), (PROBLEMS_MAX, 7));
    assert!(refused.to_string().ends_with("\n... and 7 more"));
}

#[test]
fn the_diameters_of_the_known_herds() {
    let links = |text: &str| diameter(&good(text)).map(|diameter| diameter.links);
    assert_eq!(links(DEFAULT), Some(2));
    assert_eq!(links(BOLDEN), Some(3));
    assert_eq!(links(FARMAR), Some(3));
    assert_eq!(links("A h:1"), Some(0));
    let (apart, _) = Topology::parse("t", "A h:1 B\nB h:2\nC h:3").unwrap();
    assert_eq!(diameter(&apart), None);
    assert_eq!(components(&apart).len(), 2);
}

#[test]
fn losing_one_server_parts_the_others_only_where_it_does() {
    let parts = |text: &str| {
        let (topology, _) = Topology::parse("t", text).unwrap();
        let of = |id| parts_without(&topology, id).iter().map(|p| topology.names(p)).collect();
        topology.ids().map(of).collect::<Vec<Vec<String>>>()
    };
    assert!(parts(DEFAULT).iter().all(|parts| parts.len() == 1));
    assert_eq!(parts(BOLDEN)[3], ["Alford, Bolden, Powell", "Hamilton"]);
    // Two herds in one file: the loss of B parts A from C, and D and E have nothing to do with it.
    let two = parts("A h:1 B\nB h:2 C\nC h:3\nD h:4 E\nE h:5");
    assert_eq!(two[1], ["A", "C"]);
    assert_eq!(two[3], ["E"]);
}

#[test]
fn a_description_has_the_table_the_diameter_and_the_losses() {
    assert_eq!(
        describe(&good(BOLDEN)),
        "name      address          talks with\n\
         Alford    127.0.0.1:11560  Parker, Powell\n\
         Bolden    127.0.0.1:11561  Parker, Powell\n\
         Hamilton  127.0.0.1:11562  Parker\n\
         Parker    127.0.0.1:11563  Alford, Bolden, Hamilton\n\
         Powell    127.0.0.1:11564  Alford, Bolden\n\
         \n\
         5 servers and 5 links. Diameter 3: an update reaches everybody over at most 3 links, as \
         from Hamilton to Powell.\n\
         \n\
         Without Parker, Hamilton is cut off from Alford, Bolden, Powell.\n"
    );
    let ring = describe(&good(DEFAULT));
    assert!(ring.ends_with("\n\nThe loss of one server cuts off no other.\n"), "{ring}");
    let star = describe(&good("Hub h:1 A B C\nA h:2\nB h:3\nC h:4"));
    assert!(star.ends_with("Without Hub, these are cut off from each other: A | B | C.\n"));
    let (apart, _) = Topology::parse("t", "A h:1 B\nB h:2\nC h:3").unwrap();
    let apart = describe(&apart);
    assert!(apart.contains("C     h:3      nobody\n"), "{apart}");
    assert!(apart.contains("Its 2 parts never hear of each other:\n  A, B\n  C\n"), "{apart}");
    assert!(describe(&good("A h:1")).contains("1 server and 0 links. Diameter 0: "));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_and_every_problem_has_a_place(text in "([ABab#:.1\\[\\]\t\r\n é]|h:1|B h:2){0,60}") {
        match Topology::parse("t", &text) {
            Ok((topology, _)) => {
                for (a, b) in topology.ids().flat_map(|a| topology.neighbours(a).iter().map(move |&b| (a, b))) {
                    prop_assert!(a != b && topology.neighbours(b).contains(&a));
                }
                prop_assert!(!describe(&topology).is_empty());
            }
            Err(errors) => {
                prop_assert!(!errors.problems.is_empty());
                for problem in &errors.problems {
                    prop_assert!(problem.column <= problem.text.chars().count().max(1));
                }
                prop_assert!(!errors.to_string().is_empty());
            }
        }
    }
}
