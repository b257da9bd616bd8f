// Runs the statements of a file in a mini-cluster within this process: SET and CREATE one by one, the INSERTs as one job. Prints
// SUBMITTED when the job runs and FINISHED when its bounded sources are read and all is written. For the ingest benchmark only.
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.StatementSet;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.table.api.TableResult;

public final class SqlJob {
    public static void main(String[] args) throws Exception {
        TableEnvironment tables = TableEnvironment.create(EnvironmentSettings.inStreamingMode());
        StatementSet inserts = tables.createStatementSet();
        for (String statement : Files.readString(Path.of(args[0])).split(";\\s*(\\n|$)")) {
            String text = statement.strip();
            if (text.startsWith("SET ")) {
                String[] pair = text.substring(4).split("=", 2);
                tables.getConfig().set(pair[0].strip(), pair[1].strip());
            } else if (text.startsWith("INSERT ")) {
                inserts.addInsertSql(text);
            } else if (!text.isEmpty()) {
                tables.executeSql(text);
            }
        }
        TableResult job = inserts.execute();
        System.out.println("SUBMITTED");
        job.await();
        System.out.println("FINISHED");
    }
}
